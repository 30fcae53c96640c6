"""Contract suites for authorities: `RelayAuthorityContract` for clients of a CA, `SigningAuthorityContract` for those
that sign by themselves. Their modules say what the fixture `lab` has to have."""

from acmehub.testing.authority_samples import csr_for as csr_for
from acmehub.testing.authority_samples import names_of as names_of
from acmehub.testing.authority_samples import request_for as request_for
from acmehub.testing.relay_contract import RelayAuthorityContract as RelayAuthorityContract
from acmehub.testing.relay_contract import RelayLab as RelayLab
from acmehub.testing.signing_contract import SigningAuthorityContract as SigningAuthorityContract
from acmehub.testing.signing_contract import SigningLab as SigningLab
