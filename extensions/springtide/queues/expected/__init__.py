"""When a job may be expected to start: `estimate` is the way in; pure functions over measured waits and forecasts."""
