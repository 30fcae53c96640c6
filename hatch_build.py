"""Metadata hook: an extra for each plugin, as a folder of this clone or, in a release, as a pinned version.

With `ACMEHUB_RELEASE` set (see `make dist`), or where the plugins' folders are not there (an sdist), the extras carry
versions; in a clone they carry `file://` requirements, so that `pip install ".[dns-cloudflare]"` works with nothing
published.
"""

import os
import pathlib

from hatchling.metadata.plugin.interface import MetadataHookInterface

PLUGINS = ("ca_letsencrypt", "ca_zerossl", "dns_cloudflare", "dns_rfc2136", "storage_postgres")


class CustomMetadataHook(MetadataHookInterface):
    def update(self, metadata: dict) -> None:
        root = pathlib.Path(self.root)
        release = bool(os.environ.get("ACMEHUB_RELEASE"))
        extras = {}
        for folder in PLUGINS:
            extra = folder.replace("_", "-")
            place = root / "plugins" / folder
            in_clone = place.is_dir() and not release
            origin = f" @ {place.as_uri()}" if in_clone else f"=={metadata['version']}"
            extras[extra] = [f"acmehub-{extra}{origin}"]
        extras["all"] = sorted(requirement for group in extras.values() for requirement in group)
        metadata["optional-dependencies"] = extras
