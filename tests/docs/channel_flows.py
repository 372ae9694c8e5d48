"""Flows of one channel: opened, paid, forced, closed."""

from __future__ import annotations

from actors import key
from channel import DEPOSIT, Channel
from hostile import remove
from recording import Recorder
from world import MODEL, TON

# ---- stages, which are not drawn ----


def unopened(recorder: Recorder) -> Channel:
    worker = recorder.know(recorder.world.active_worker())
    channel = recorder.world.channel(worker)
    recorder.name(channel.client, "Client")
    recorder.name(channel.address, "Escrow")
    return channel


def opened(recorder: Recorder) -> Channel:
    channel = unopened(recorder)
    channel.open().assert_succeeded()
    return channel


def posted(recorder: Recorder) -> Channel:
    channel = opened(recorder)
    channel.post().assert_succeeded()
    return channel


# ---- flows ----


def open(recorder: Recorder) -> None:
    """The handshake: what the Escrow relies on comes from the Worker and the Registry."""
    recorder.record(unopened(recorder).open()).assert_succeeded()


def refuse(recorder: Recorder) -> None:
    """The worker does not offer this model; everything comes back."""
    channel = unopened(recorder)
    recorder.record(channel.open(channel.opening(model_id=MODEL + 1)))
    assert not channel.exists


def absent(recorder: Recorder) -> None:
    """There is no such worker; everything comes back."""
    channel = unopened(recorder)
    remove(recorder.world.ledger, channel.worker.address)
    recorder.record(channel.open())
    assert not channel.exists


def cancelled(recorder: Recorder) -> None:
    """An answer was lost; the client takes everything back."""
    channel, world = unopened(recorder), recorder.world
    init = world.deployment.escrow_state_init(channel.client, channel.worker.address, channel.salt)
    world.put(channel.client, channel.address, channel.opening(), DEPOSIT + channel.open_fees, state_init=init)
    recorder.deliver(world.step())
    world.ledger.drop(0)
    recorder.note("BindEscrow is lost; the client waits 600 s")
    world.ledger.advance(600)
    recorder.record(channel.cancel_open()).assert_succeeded()


def top_up(recorder: Recorder) -> None:
    """By anyone."""
    recorder.record(opened(recorder).top_up(TON)).assert_succeeded()


def claim(recorder: Recorder) -> None:
    """By anyone who holds it."""
    channel = opened(recorder)
    recorder.record(channel.claim(DEPOSIT // 4, sender=channel.worker.operator)).assert_succeeded()


def delivered(recorder: Recorder) -> None:
    """The job carries its own money; delivery settles it."""
    channel = opened(recorder)
    recorder.record(channel.post()).assert_succeeded()
    recorder.note("the worker runs the model")
    recorder.record(channel.deliver()).assert_succeeded()


def rejected(recorder: Recorder) -> None:
    """For a fault of the client's request, signed by the worker."""
    recorder.record(posted(recorder).reject()).assert_succeeded()


def not_admitted(recorder: Recorder) -> None:
    """The worker has no free slot; the money becomes deposit again or comes back."""
    channel = opened(recorder)
    channel.worker.set_offer(slots=0).assert_succeeded()
    recorder.record(channel.post()).assert_succeeded()


def missed(recorder: Recorder) -> None:
    """The refund depends on nobody; the bond pays."""
    channel = opened(recorder)
    recorder.record(channel.post()).assert_succeeded()
    channel.pass_deadline()
    recorder.note("deadline and grace have passed in silence")
    recorder.record(channel.expire()).assert_succeeded()


def lost_report(recorder: Recorder) -> None:
    """The refund did not wait for it; anyone sends it again until it is acknowledged."""
    channel, ledger = posted(recorder), recorder.world.ledger
    worker = channel.worker.address
    alive = ledger.accounts[worker]
    remove(ledger, worker)
    channel.pass_deadline()
    recorder.record(channel.expire())
    recorder.note("the Worker is back")
    ledger.accounts[worker] = alive
    ledger.minted += alive.balance
    recorder.record(channel.retry_report()).assert_succeeded()


def rebind(recorder: Recorder) -> None:
    """The enclave was restarted; the channel takes the new keys, the job's money comes back."""
    channel = posted(recorder)
    recorder.record(channel.worker.attest(key("after the reboot"))).assert_succeeded()
    recorder.record(channel.rebind()).assert_succeeded()


def cooperative(recorder: Recorder) -> None:
    """Both have signed the split."""
    recorder.record(opened(recorder).close_cooperatively(DEPOSIT // 2)).assert_succeeded()


def release(recorder: Recorder) -> None:
    """The worker wants no more than it was paid."""
    channel = opened(recorder)
    channel.claim(DEPOSIT // 4).assert_succeeded()
    recorder.record(channel.release(DEPOSIT // 4)).assert_succeeded()


def unilateral(recorder: Recorder) -> None:
    """By the client, with a window for the worker's last claim."""
    channel = opened(recorder)
    recorder.record(channel.begin_close()).assert_succeeded()
    recorder.note("the dispute window: the worker claims its last voucher")
    recorder.record(channel.claim(DEPOSIT // 4, sender=channel.worker.operator)).assert_succeeded()
    recorder.world.ledger.advance(recorder.world.rules.dispute_sec)
    recorder.record(channel.finish_close()).assert_succeeded()


def volume(recorder: Recorder) -> None:
    """Reputation that costs: a share of what was paid is burned."""
    channel = opened(recorder)
    channel.claim(DEPOSIT // 4).assert_succeeded()
    binding = channel.state.binding
    assert binding is not None
    burned = -(-DEPOSIT // 4 * binding.volume_burn_bps // 10_000)
    recorder.record(channel.count_volume(burned, sender=channel.worker.operator)).assert_succeeded()
