"""Simulate LISA instrument noise and write the spectrum of the TDI variable X2 to spectrum.csv.

The method is that of the tutorial 01-lisa-instrument-noise; see there for the model and its sources
(Babak et al., arXiv:2108.01167).
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from lisainstrument import Instrument, SchedulerConfigSerial
from lisainstrument.streams import store_bundle_numpy
from lisaorbits import KeplerianOrbits
from pytdi import Data
from pytdi.michelson import X2
from scipy.signal import welch

C = 299_792_458.0  # speed of light [m/s]
ARM = 2.5e9  # mean arm length [m]
REQUIRED_OMS = 15e-12  # optical metrology [m/√Hz]
REQUIRED_ACCELERATION = 3e-15  # test masses [m/s²/√Hz]
LASER = 30.0  # laser frequency noise [Hz/√Hz]
LINKS = ("12", "23", "31", "13", "32", "21")
BEATNOTES = ("sci", "tmi", "ref")
SETTLING = 1_000.0  # seconds at the start for which TDI lacks earlier data
SEGMENT = 16_384.0  # longest segment of the spectral estimate [s]


def main() -> None:
    """Run one simulation."""
    asked = read_arguments()
    logging.getLogger("lisainstrument").setLevel(logging.ERROR)
    print('progress 0.02 "orbits"', flush=True)
    x2 = simulate(asked)
    print('progress 0.95 "spectrum"', flush=True)
    write_spectrum(x2, asked)
    print('progress 1 "done"', flush=True)


def read_arguments() -> argparse.Namespace:
    """Return what is asked for, in SI units."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--duration", type=float, default=86_400.0, help="[s]")
    parser.add_argument("--dt", type=float, default=1.0, help="sampling period [s]")
    parser.add_argument("--oms", type=float, default=15.0, help="[pm/√Hz]")
    parser.add_argument("--acceleration", type=float, default=3.0, help="[fm/s²/√Hz]")
    parser.add_argument("--laser", action="store_true", help="with laser noise")
    asked = parser.parse_args()
    asked.oms *= 1e-12
    asked.acceleration *= 1e-15
    return asked


def simulate(asked: argparse.Namespace) -> np.ndarray:
    """Return X2 as fractional laser frequency, sampled every ``asked.dt`` seconds."""
    instrument = make_instrument(asked)
    print('progress 0.05 "noise of the interferometers"', flush=True)
    wanted = {("debug", f"{beat}_carrier_fluctuations", link) for beat in BEATNOTES for link in LINKS}
    ranges = {("mprs", link) for link in LINKS}  # measured light travel times [s]
    streams = instrument.stream_bundle()
    data = store_bundle_numpy(streams, wanted | ranges, cfgscheduler=SchedulerConfigSerial(20_000)).as_dict()
    print('progress 0.8 "time-delay interferometry"', flush=True)
    measurements = {
        f"{beat}_{link}": data["debug", f"{beat}_carrier_fluctuations", link] for beat in BEATNOTES for link in LINKS
    }
    tdi_input = Data(measurements, {f"d_{link}": data["mprs", link] for link in LINKS}, fs=1 / asked.dt)
    tdi_input.compute_delay_derivatives()
    x2 = X2.build(**tdi_input.args)(tdi_input.measurements)
    return x2[int(SETTLING / asked.dt) :] / instrument.central_freq


def make_instrument(asked: argparse.Namespace) -> Instrument:
    """Return an instrument with the noises asked for, and perfect clocks."""
    with tempfile.TemporaryDirectory() as folder:
        orbit_file = Path(folder, "orbits.h5")
        size = int(asked.duration / 10_000) + 100
        KeplerianOrbits(L=ARM).write(str(orbit_file), dt=10_000, size=size, t0=0)
        instrument = Instrument(
            seed=asked.seed,
            size=int(asked.duration / asked.dt),
            dt=asked.dt,
            t0=50_000.0,
            orbits=str(orbit_file),
            aafilter=("kaiser", 240, 0.275 / asked.dt, 0.725 / asked.dt),
            laser_asds=LASER,
            oms_asds=(asked.oms, 0, 0, 0, 0, 0),
            oms_fknees=2e-3,
            testmass_asds=asked.acceleration,
            testmass_fknees=0.4e-3,
            testmass_fbreak=8e-3,
            clock_freqoffsets=0,
            clock_freqlindrifts=0,
            clock_freqquaddrifts=0,
        )
    kept = ["oms", "test-mass"] + (["laser"] if asked.laser else [])
    instrument.disable_all_noises(excluding=kept)
    return instrument


def x2_model(f: np.ndarray, oms: float, acceleration: float) -> np.ndarray:
    """Return the one-sided PSD [1/Hz] of X2 for equal arms."""
    x = 2 * np.pi * f * ARM / C
    displacement = oms**2 * (1 + (2e-3 / f) ** 4)  # [m²/Hz]
    force = acceleration**2 * (1 + (0.4e-3 / f) ** 2) * (1 + (f / 8e-3) ** 4)  # [m²/s⁴/Hz]
    oms_psd = displacement * (2 * np.pi * f / C) ** 2
    mass_psd = force / (2 * np.pi * f * C) ** 2
    transfer = 64 * np.sin(2 * x) ** 2 * np.sin(x) ** 2
    return transfer * (oms_psd + (3 + np.cos(2 * x)) * mass_psd)


def write_spectrum(x2: np.ndarray, asked: argparse.Namespace) -> None:
    """Write frequency, spectrum, model and requirement; complete or not at all."""
    # At least four segments that overlap by three quarters fit into a short run, too.
    samples = int(min(SEGMENT / asked.dt, 4 * len(x2) / 7))
    f, power = welch(x2, fs=1 / asked.dt, window=("kaiser", 20), nperseg=samples, noverlap=3 * samples // 4)
    f, power = f[1:], power[1:]
    columns = (f, power, x2_model(f, asked.oms, asked.acceleration), x2_model(f, REQUIRED_OMS, REQUIRED_ACCELERATION))
    beside = Path(".spectrum.csv")
    with beside.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frequency [Hz]", "PSD of X2 [1/Hz]", "model [1/Hz]", "mission requirement [1/Hz]"])
        table.writerows(zip(*columns, strict=True))
    os.replace(beside, "spectrum.csv")


if __name__ == "__main__":
    main()
