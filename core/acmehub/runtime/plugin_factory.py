"""What a plugin's factory makes, checked before it is used, so that its author reads what is wrong in one line."""

from typing import Any

from acmehub.ports.authority import (
    CompletesSettings,
    InformsOfRenewal,
    RelayAuthority,
    SigningAuthority,
    UpstreamError,
)
from acmehub.ports.dns import DnsProvider, DnsProviderError, WaitsForPropagation
from acmehub.ports.plugins import Closes, Notifier, PluginContext, Registration
from acmehub.ports.settings import PluginSettings, SettingsError, place_of
from acmehub.ports.store import Store, StoreError
from acmehub.runtime.plugin_flaws import extras_flaw, object_flaw
from acmehub.runtime.plugins import PluginBroken, PluginError

AUTHORITY = (RelayAuthority, SigningAuthority)
DNS_PROVIDER = (DnsProvider,)
STORAGE = (Store,)
NOTIFIER = (Notifier,)

_EXTRAS = (CompletesSettings, InformsOfRenewal, WaitsForPropagation, Closes)
_TOLD = (PluginError, SettingsError, StoreError, UpstreamError, DnsProviderError)  # what a factory may raise


def make_object(
    registration: Registration, settings: PluginSettings, context: PluginContext, kinds: tuple[type, ...]
) -> Any:
    """The object that a factory makes of settings: one of `kinds`.

    `PluginBroken` says what is wrong with it, or where the factory raised what it should not; the text of such an
    error is left out, as it may hold a secret.
    """
    name = registration.name
    try:
        made = registration.factory(settings, context)
    except _TOLD:
        raise
    except Exception as error:  # third-party code
        what = f"{type(error).__name__} ({place_of(error)})"
        raise PluginBroken(
            name, f"is broken: its factory, called as factory(settings, context), raised {what}"
        ) from error
    if flaw := object_flaw(made, kinds) or extras_flaw(made, _EXTRAS):
        raise PluginBroken(name, f"is broken: {flaw}")
    return made
