"""What a storage must do for renewals (RFC 9773): windows to be asked for, and what replaces what."""

from msgspec.structs import replace

from acmehub.models import Certificate
from acmehub.ports.store import Store
from acmehub.rules.orders import Change
from acmehub.rules.renewal import cert_id
from acmehub.testing.store_samples import Seed, a_certificate, at, sow


class RenewalContract:
    """Part of `StoreContract`."""

    async def _certify(self, store: Store, seed: Seed, serial: int, *, replaces: str | None = None) -> Certificate:
        bundle = seed.order(created=at(serial))
        await store.orders.add(replace(bundle, order=replace(bundle.order, replaces=replaces)))
        certificate = replace(
            a_certificate(bundle.order), serial=f"{serial:02x}", cert_id=cert_id(b"issuer", serial), profile="short"
        )
        await store.orders.apply(bundle.order.id, lambda stored: Change(order=stored.order, certificate=certificate))
        return certificate

    async def test_certificates_whose_window_is_to_be_asked_for_come_most_overdue_first(self, store: Store) -> None:
        seed = await sow(store)
        first, second, third, _never = [await self._certify(store, seed, number) for number in (1, 2, 3, 4)]
        for certificate, due in ((first, at(20)), (second, at(10)), (third, at(60))):
            await store.certificates.replace(replace(certificate, window_until=due, window_start=at(5)))

        async def found(limit: int = 10) -> list[str]:
            return [item.id for item in await store.certificates.window_due(at(30), limit)]

        assert await found() == [second.id, first.id]
        assert await found(limit=1) == [second.id]
        [oldest] = await store.certificates.window_due(at(15), 10)
        assert oldest == replace(second, window_until=at(10), window_start=at(5), version=2)

    async def test_a_certificate_is_replaced_in_the_write_that_stores_the_one_after_it(self, store: Store) -> None:
        seed = await sow(store)
        old, other = await self._certify(store, seed, 0xA1), await self._certify(store, seed, 0xA2)
        new = await self._certify(store, seed, 0xA3, replaces=old.cert_id)
        assert await store.certificates.get(old.id) == replace(old, replaced_by=new.order_id, version=2)
        assert await store.certificates.get(other.id) == other
        await self._certify(store, seed, 0xA4, replaces=old.cert_id)
        again = await store.certificates.get(old.id)
        assert again is not None
        assert again.replaced_by == new.order_id  # the first one stays

    async def test_what_is_no_identifier_of_a_certificate_replaces_nothing(self, store: Store) -> None:
        seed = await sow(store)
        old = await self._certify(store, seed, 0xA1)
        for odd in ("nonsense", cert_id(b"another issuer", 0xA1), cert_id(b"issuer", 0xB1)):
            await self._certify(store, seed, 0xC1, replaces=odd)
        assert await store.certificates.get(old.id) == old
