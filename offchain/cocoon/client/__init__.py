"""The client: channels to workers, encrypted jobs through the chain, verified answers, money back."""

from .channel import Channel, Done
from .client import BindFailed, Client
from .evidence import Slashed
from .job import Job
from .outcomes import Answer, BadDelivery, Expired, KeyLost, Rejected
from .store import ClientStore
from .trust import NetworkTrust, check_network

__all__ = [
    "Answer",
    "BadDelivery",
    "BindFailed",
    "Channel",
    "Client",
    "ClientStore",
    "Done",
    "Expired",
    "Job",
    "KeyLost",
    "NetworkTrust",
    "Rejected",
    "Slashed",
    "check_network",
]
