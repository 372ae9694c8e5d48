"""Writes Intel's SGX extension into a PCK certificate."""

from __future__ import annotations

from .. import der
from ..der import Tag, encode, integer, sequence
from ..pck import SGX_EXTENSION, SgxType
from .hardware import CertificateAuthority, Hardware
from .issuing import extension

__all__ = ["sgx_extension"]


def sgx_extension(
    *,
    ppid: bytes,
    components: tuple[int, ...],
    pce_svn: int,
    cpu_svn: bytes,
    pce_id: bytes,
    fmspc: bytes,
    sgx_type: SgxType,
    platform_instance_id: bytes | None,
    configuration: dict[int, bool],
) -> bytes:
    """The extension with these values, as `cocoon.attestation.pck` reads them."""
    numbers = [*components, pce_svn]
    tcb = [_pair(f"2.{index}", integer(number)) for index, number in enumerate(numbers, 1)]
    values = [
        _pair("1", encode(Tag.OCTET_STRING, ppid)),
        _pair("2", sequence(*tcb, _pair("2.18", encode(Tag.OCTET_STRING, cpu_svn)))),
        _pair("3", encode(Tag.OCTET_STRING, pce_id)),
        _pair("4", encode(Tag.OCTET_STRING, fmspc)),
        _pair("5", encode(Tag.ENUMERATED, bytes([sgx_type]))),
    ]
    if platform_instance_id is not None:
        values.append(_pair("6", encode(Tag.OCTET_STRING, platform_instance_id)))
    if configuration:
        flags = [_pair(f"7.{key}", encode(Tag.BOOLEAN, b"\xff" if on else b"\0")) for key, on in configuration.items()]
        values.append(_pair("7", sequence(*flags)))
    return extension(SGX_EXTENSION, sequence(*values))


def of_hardware(hardware: Hardware, ppid: bytes, instance_id: bytes) -> bytes:
    """The extension of `hardware`. Only the Platform CA certifies an instance and its configuration."""
    registered = hardware.authority is CertificateAuthority.PLATFORM
    return sgx_extension(
        ppid=ppid,
        components=hardware.components,
        pce_svn=hardware.pce_svn,
        cpu_svn=bytes(hardware.components),
        pce_id=hardware.pce_id,
        fmspc=hardware.fmspc,
        sgx_type=hardware.sgx_type,
        platform_instance_id=instance_id if registered else None,
        configuration={1: hardware.dynamic, 2: hardware.cached_keys, 3: hardware.smt} if registered else {},
    )


def _pair(arc: str, value: bytes) -> bytes:
    return sequence(der.oid(f"{SGX_EXTENSION}.{arc}"), value)
