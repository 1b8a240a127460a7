"""Ordinary batch scripts: `read` takes their directives in, `translate` turns them into a request for any site."""
