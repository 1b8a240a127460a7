"""Which cache has a lab's images: the lab's own, which its administrator fills, and that of each account.

An account takes from the lab's what is there. What is not, it converts into the lab's where it may write to it, else
into its own, below its home. A private image comes into the own one only, which nobody else can look into.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.conversions.cache import ConversionCache, Over, Progress
from springtide.environments.conversions.entries import USED_FOR_S, Entry
from springtide.environments.conversions.sources import FromRegistry, Source
from springtide.environments.registry.reference import names_a_registry, parse_reference
from springtide.environments.runtimes.base import Form
from springtide.errors import EngineError, EnvironmentsError
from springtide.lab.models import Lab

_FOLDER = "images"


@dataclass(frozen=True)
class ImageCaches:
    """The caches of an account."""

    shared: ConversionCache
    own: ConversionCache

    @classmethod
    def of(cls, lab: Lab, state: Path, is_over: Over = lambda name: False) -> ImageCaches:
        """Return those of this account.

        Parameters
        ----------
        state : Path
            The lab's state directory.
        is_over : callable
            See `ConversionCache`.
        """
        limit = int(lab.images.limit or 0)
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        return cls(
            ConversionCache(lab.images.folder or state / _FOLDER, limit, is_over),
            ConversionCache(base / "springtide" / _FOLDER, limit, is_over, mode=0o700),
        )

    @property
    def all(self) -> tuple[ConversionCache, ConversionCache]:
        """Both, the lab's first."""
        return self.shared, self.own

    def have(
        self,
        recipe: EnvironmentRecipe,
        form: Form,
        progress: Progress,
        *,
        private: bool = False,
        use: str = "",
        for_s: float = USED_FOR_S,
    ) -> Entry:
        """Return the image of an environment, converted where it is not there.

        Parameters
        ----------
        private : bool
            Whether not everyone may have it.
        use : str
            The mark to leave on it: see `Entry.mark`.

        Raises
        ------
        EnvironmentsError, EngineError
            If it cannot be had: see `ConversionCache.have`.
        """
        self.shared.check()
        caches = [self.own] if private else [*self.all]
        while True:
            entry = self._find(recipe, form, caches)
            if entry is None:
                target = next((cache for cache in caches if cache.may_write), self.own)
                source = source_of(recipe)
                return target.have(source, form, progress, use=use, for_s=for_s)
            if not use or entry.mark(use, for_s):
                return entry

    def find(self, recipe: EnvironmentRecipe, form: Form, *, shared_only: bool = False) -> Entry | None:
        """Return the image of an environment if it is there.

        Raises
        ------
        EnvironmentsError, EngineError
            If it cannot be known which one that is.
        """
        return self._find(recipe, form, [self.shared] if shared_only else [*self.all])

    def _find(self, recipe: EnvironmentRecipe, form: Form, caches: list[ConversionCache]) -> Entry | None:
        """Return an image that is there.

        Whether a tag means another image now is asked by those only who fill the lab's cache: to all others it means
        what was converted there last, so that jobs of one environment run one image, and need no login.
        """
        pinned = parse_reference(recipe.image).digest
        made_here = recipe.folder is not None and not names_a_registry(recipe.image)
        if pinned or made_here:
            return _first(cache.find_made_from(recipe.image, form, pinned) for cache in caches)
        taken = self.shared in caches and not self.shared.may_write
        if taken and (there := self.shared.find_made_from(recipe.image, form)):
            return there
        digest = source_of(recipe).digest
        return _first(cache.find(digest, form) for cache in caches)


def _first(found: Iterable[Entry | None]) -> Entry | None:
    return next(filter(None, found), None)


def source_of(recipe: EnvironmentRecipe) -> Source:
    """Return where the image of an environment is had from.

    Raises
    ------
    EnvironmentsError
        If it cannot be had.
    """
    if names_a_registry(recipe.image):
        return FromRegistry(parse_reference(recipe.image), recipe.access)
    try:
        return _from_engine(recipe.image)
    except EngineError as error:
        raise EnvironmentsError(
            f"The image {recipe.image} is in no registry, and cannot be had from an engine here. {error.message}",
            f"An administrator converts it once for all: springtide env convert {recipe.name}",
            transient=error.transient,
        ) from error


def _from_engine(image: str) -> Source:
    try:
        from springtide.environments.conversions.saved import FromEngine
    except ModuleNotFoundError as error:
        raise EngineError("Nothing here talks to an engine: the Python package docker is missing.") from error
    return FromEngine(image)
