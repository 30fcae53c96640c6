"""From the client's order to its certificate, when everybody outside behaves."""

from acmehub.models import Stage
from tests.issuance.rig import Rig


async def test_an_order_is_authorized_before_its_csr_comes_and_issued_after(rig: Rig) -> None:
    order_id = await rig.open()
    await rig.go()
    order = await rig.order(order_id)
    assert (order.stage, order.run_at, order.lease_owner) == (Stage.AUTHORIZED, None, None)
    await rig.assert_clean()
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.issued_for("www.corp.test") == 1
    assert [event.order_id for event in rig.plugin.finished] == [order_id]
    assert rig.plugin.finished[0].principal == "device"
