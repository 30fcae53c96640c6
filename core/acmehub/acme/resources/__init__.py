"""The ACME resources, one module each (RFC 8555 section 7.1)."""

from acmehub.acme.resources import (
    accounts,
    authorizations,
    certificates,
    challenges,
    directory,
    key_change,
    new_authz,
    orders,
    renewal_info,
    revocation,
    secret_directories,
    terms,
)

ROUTES = (
    directory.show_directory,
    directory.new_nonce,
    directory.post_directory,
    directory.post_new_nonce,
    secret_directories.show_directory,
    secret_directories.new_account,
    accounts.new_account,
    accounts.account,
    accounts.orders,
    accounts.more_orders,
    orders.new_order,
    orders.order,
    orders.finalize,
    new_authz.new_authorization,
    authorizations.authorization,
    challenges.challenge,
    certificates.certificate,
    certificates.alternate,
    key_change.key_change,
    revocation.revoke_certificate,
    renewal_info.renewal_info,
    terms.show_terms,
)
"""Every route of the ACME server."""
