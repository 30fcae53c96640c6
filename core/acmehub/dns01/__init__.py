"""dns-01: finds zones along CNAMEs, writes TXT records, watches their propagation, removes them."""

from acmehub.dns01.errors import DnsError, DnsUnclear, DnsWrong
from acmehub.dns01.explanation import Explanation, Rehearsal
from acmehub.dns01.propagation import Judgement, Sight, Verdict, View, judge
from acmehub.dns01.resolver import Address, Caa, NameServer
from acmehub.dns01.solver import Solver, Wanted
from acmehub.dns01.txt_cleanup import TxtCleanup
from acmehub.dns01.zones import Place

__all__ = [
    "Address",
    "Caa",
    "DnsError",
    "DnsUnclear",
    "DnsWrong",
    "Explanation",
    "Judgement",
    "NameServer",
    "Place",
    "Rehearsal",
    "Sight",
    "Solver",
    "TxtCleanup",
    "Verdict",
    "View",
    "Wanted",
    "judge",
]
