"""The wallet: the same as tonsdk's, signs offline, and never leaves a send's outcome in doubt."""

from __future__ import annotations

import pytest
from ledger_chain import LedgerChain
from protocol_world import TON, named_key
from pytoniq_core import Address, Cell
from tonsdk.boc import Cell as TonsdkCell
from tonsdk.contract.wallet import Wallets, WalletVersionEnum
from tonsdk.crypto import mnemonic_new

from cocoon.chain import Transfer, Wallet, trace
from cocoon.chain.delivery import WalletOrder, deliver
from cocoon.chain.wallet import format_ton
from cocoon.errors import WalletError
from cocoon_sandbox.config import SANDBOX_GLOBAL_ID
from cocoon_sandbox.ledger import Ledger

SOMEONE = Address((0, b"\x07" * 32))
LATER = 2_000_000_000


def chain_with(ledger: Ledger, wallet: Wallet, nano: int = 10 * TON) -> LedgerChain:
    if nano:
        ledger.credit(wallet.address, nano)
    return LedgerChain(ledger, global_id=SANDBOX_GLOBAL_ID, block_sec=5, pause=0)


def test_wallet_from_mnemonic_is_the_one_tonsdk_makes() -> None:
    words = mnemonic_new()
    _, public, _, other = Wallets.from_mnemonics(words, WalletVersionEnum.v4r2, 0)
    wallet = Wallet.from_mnemonic(" ".join(words).upper())
    assert wallet.public_key == public
    assert wallet.address.to_str(is_user_friendly=False) == other.address.to_string(False)


def test_sign_gives_the_message_tonsdk_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    words = mnemonic_new()
    other = Wallets.from_mnemonics(words, WalletVersionEnum.v4r2, 0)[3]
    monkeypatch.setattr("time.time", lambda: LATER - 60)
    payload = TonsdkCell()
    payload.bits.write_uint(5, 32)
    theirs = other.create_transfer_message(SOMEONE.to_str(is_bounceable=True), TON, 3, payload=payload)
    body = Cell.one_from_boc(bytes(payload.to_boc(False)))
    ours = Wallet.from_mnemonic(words).sign(SOMEONE, TON, body, seqno=3, valid_until=LATER)
    signed = Cell.one_from_boc(bytes(theirs["body"].to_boc(False)))
    # The order may be laid out in more than one valid way (body inline or not), so compare what is said, not the bytes.
    mine, his = ours.refs[0].begin_parse(), signed.begin_parse()
    mine.skip_bits(512)
    his.skip_bits(512)
    assert mine.load_bits(32 * 3 + 8 + 8) == his.load_bits(32 * 3 + 8 + 8)
    out, theirs_out = mine.load_ref().begin_parse(), his.load_ref().begin_parse()
    assert out.load_bits(4) == theirs_out.load_bits(4)
    assert (out.load_address(), theirs_out.load_address()) == (None, None)
    assert out.load_address() == theirs_out.load_address() == SOMEONE
    assert out.load_coins() == theirs_out.load_coins() == TON


@pytest.mark.parametrize("words", ["", "abandon " * 24, "one two three", " ".join(["zoo"] * 24)])
def test_wallet_from_other_words_is_refused(words: str) -> None:
    with pytest.raises(WalletError, match="no TON mnemonic"):
        Wallet.from_mnemonic(words)


def test_new_mnemonic_makes_a_wallet() -> None:
    words = Wallet.new_mnemonic()
    assert len(words.split()) == 24
    assert Wallet.from_mnemonic(words).address != Wallet.from_mnemonic(Wallet.new_mnemonic()).address


@pytest.mark.parametrize(("count", "seqno", "until"), [(0, 1, LATER), (5, 1, LATER), (1, -1, LATER), (1, 1, 1 << 32)])
def test_sign_of_impossible_orders_is_refused(count: int, seqno: int, until: int) -> None:
    with pytest.raises(WalletError):
        Wallet(named_key("w")).sign_all([Transfer(SOMEONE, 1)] * count, seqno=seqno, valid_until=until)


async def test_send_deploys_the_wallet_and_pays(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet)
    assert await wallet.seqno(chain) == 0
    sent = await wallet.send(chain, SOMEONE, TON, bounce=False)
    assert (sent.account, sent.exit_code, len(sent.out_msgs)) == (wallet.address, 0, 1)
    done = await trace(chain, sent)
    assert [item.account for item in done] == [wallet.address, SOMEONE]
    assert (await chain.account(SOMEONE)).balance == TON
    assert await wallet.seqno(chain) == 1


async def test_send_all_makes_one_transaction(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet)
    sent = await wallet.send_all(chain, [Transfer(SOMEONE, nano, bounce=False) for nano in (1, 2, 3, 4)])
    assert [message.value for message in sent.out_msgs] == [1, 2, 3, 4]


async def test_send_from_several_tasks_makes_one_after_another(ledger: Ledger) -> None:
    import asyncio

    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet)
    done = await asyncio.gather(*(wallet.send(chain, SOMEONE, nano, bounce=False) for nano in (1, 2, 3)))
    assert sorted(item.out_msgs[0].value for item in done) == [1, 2, 3]
    assert await wallet.seqno(chain) == 3


async def test_send_with_too_little_money_says_how_much(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet, TON)
    with pytest.raises(WalletError, match=r"holds 1 TON and needs 1\.02 TON"):
        await wallet.send(chain, SOMEONE, TON)


async def test_send_lost_by_the_network_expires(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet)
    chain.lose_messages = 1
    with pytest.raises(WalletError, match=r"expired at .* without being executed"):
        await wallet.send(chain, SOMEONE, TON, ttl_sec=20)
    await wallet.send(chain, SOMEONE, TON, bounce=False)


async def test_deliver_signed_offline_is_executed_once(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    message = wallet.sign(SOMEONE, TON, seqno=0, valid_until=LATER, bounce=False)
    order = WalletOrder.of(message)
    assert (order.wallet, order.seqno, order.valid_until, order.transfers) == (wallet.address, 0, LATER, 1)
    chain = chain_with(ledger, wallet)
    assert (await deliver(chain, message)).out_msgs[0].value == TON
    with pytest.raises(WalletError, match="signed for seqno 0, the wallet is at 1"):
        await deliver(chain, message)


async def test_deliver_expired_is_refused(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet)
    with pytest.raises(WalletError, match="expired"):
        await deliver(chain, wallet.sign(SOMEONE, 1, seqno=0, valid_until=ledger.now - 1))


async def test_deliver_with_a_forged_signature_is_refused(ledger: Ledger) -> None:
    wallet, thief = Wallet(named_key("w")), Wallet(named_key("thief"))
    thief.address, thief.state_init = wallet.address, wallet.state_init
    chain = chain_with(ledger, wallet)
    with pytest.raises(WalletError, match="refused its own message"):
        await deliver(chain, thief.sign(SOMEONE, TON, seqno=0, valid_until=LATER))


async def test_deliver_without_money_for_all_messages_says_so(ledger: Ledger) -> None:
    wallet = Wallet(named_key("w"))
    chain = chain_with(ledger, wallet, TON)
    transfers = [Transfer(SOMEONE, TON // 2, bounce=False), Transfer(SOMEONE, TON, bounce=False)]
    with pytest.raises(WalletError, match="sent 1 of 2 messages"):
        await deliver(chain, wallet.sign_all(transfers, seqno=0, valid_until=LATER))
    assert await wallet.seqno(chain) == 1


def test_order_of_anything_else_is_refused() -> None:
    with pytest.raises(WalletError, match="no signed wallet message"):
        WalletOrder.of(Cell.empty())


def test_format_ton_is_exact() -> None:
    assert [format_ton(nano) for nano in (0, 1, -1_500_000_000, 10**10)] == [
        "0 TON",
        "0.000000001 TON",
        "-1.5 TON",
        "10 TON",
    ]
