"""Writes of one turn of the event loop go out as one."""

import asyncio

from acmehub.serving.write_coalescing import CoalescingTransport


class Recorder(asyncio.Transport):
    """Keeps what is written to it, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.end = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.end = "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def is_closing(self) -> bool:
        return bool(self.end)


def gathering() -> tuple[CoalescingTransport, Recorder]:
    recorder = Recorder()
    return CoalescingTransport(recorder, asyncio.get_running_loop()), recorder


async def test_head_and_body_of_one_turn_are_one_write() -> None:
    transport, recorder = gathering()
    transport.write(b"head ")
    transport.write(b"body")
    assert recorder.written == []
    await asyncio.sleep(0)
    assert recorder.written == [b"head body"]


async def test_what_is_flushed_goes_at_once_and_only_once() -> None:
    transport, recorder = gathering()
    transport.write(b"answer")
    transport.flush()
    assert recorder.written == [b"answer"]
    await asyncio.sleep(0)
    assert recorder.written == [b"answer"]


async def test_the_next_turn_is_a_write_of_its_own() -> None:
    transport, recorder = gathering()
    transport.write(b"100 Continue")
    await asyncio.sleep(0)
    transport.write(b"answer")
    await asyncio.sleep(0)
    assert recorder.written == [b"100 Continue", b"answer"]


async def test_much_does_not_wait_for_the_end_of_the_turn() -> None:
    transport, recorder = gathering()
    for _ in range(5):
        transport.write(bytes(20_000))
    assert [len(item) for item in recorder.written] == [80_000]


async def test_closing_sends_what_was_written_before() -> None:
    transport, recorder = gathering()
    transport.write(b"last words")
    transport.close()
    assert (recorder.written, recorder.end) == ([b"last words"], "closed")
    assert transport.is_closing()


async def test_aborting_drops_what_was_written() -> None:
    transport, recorder = gathering()
    transport.write(b"nobody hears this")
    transport.abort()
    await asyncio.sleep(0)
    assert (recorder.written, recorder.end) == ([], "aborted")
