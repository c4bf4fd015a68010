"""A papay contract (委托代扣), signed or terminated; and whether a parked plate can be deducted from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ._fields import beijing, inside, moment, require, shaped, text
from ._notifications import Notification, check_source, digest
from ._resources import VerifiedResource
from ._signature import Verified
from .errors import BadField, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_WHAT: Final = "a contract result"
_CHANGES: Final = {"ENTRUST.SIGN": "ADD", "ENTRUST.TERMINATE": "DELETE"}
_PLATE_ALWAYS: Final = (
    "mch_id",
    "appid",
    "nonce_str",
    "vehicle_event_type",
    "vehicle_event_createtime",
)


class Contract(Notification):
    """
    A contract that a payer signed or terminated. **Look at** :attr:`change_type`.

    Compare ``contract_code`` and ``openid`` with your own before you believe that
    it is your payer's: so WeChat Pay's page says.
    """

    __slots__ = (
        "change_type",
        "contract_code",
        "contract_expired_time",
        "contract_id",
        "contract_termination_mode",
        "openid",
        "operate_time",
        "plan_id",
        "request_serial",
    )

    kind = "contract"
    _shown: ClassVar = ("contract_id", "contract_code", "plan_id", "change_type")

    # ``result`` is ADD or DELETE, as ``change_type``.

    fields: Verified | VerifiedResource
    #: ADD: signed. DELETE: terminated. APIv3 says it by the event's type.
    change_type: str
    #: WeChat Pay's number of the contract.
    contract_id: str
    #: Yours; ``out_contract_code`` in APIv3.
    contract_code: str
    #: A number on the wire of APIv3, text in APIv2; text here.
    plan_id: str
    openid: str
    #: Text, because genuine ones are larger than the page says; APIv2 only.
    request_serial: str
    #: Aware; None where absent or unreadable.
    operate_time: datetime | None
    contract_expired_time: datetime | None
    #: Why it was terminated, as WeChat Pay's number says; APIv2 only.
    contract_termination_mode: str

    @classmethod
    def from_verified(cls, verified: Verified) -> Contract:
        """
        Read verified APIv2 fields as a contract result.

        Args:
            verified: What :func:`verify` returned. It has neither ``appid`` nor
                ``nonce_str``: genuine ones do not.

        Returns:
            The contract.

        Raises:
            TypeError: If *verified* is anything else.

            MissingField: If a field every contract result has is absent.

            BadField: If ``result_code`` is not SUCCESS, ``change_type`` is
                unknown, or an id has characters WeChat Pay does not use.

        Source:
            WeChat Pay APIv2, "contract and termination notification" (papay chapter 3_6).
        """
        check_source(verified, Verified, "Contract.from_verified()")
        names = ("return_code", "result_code", "mch_id", "contract_code", "plan_id", "openid", "change_type")
        require(verified, (*names, "operate_time", "contract_id"), _WHAT)
        get = verified.get
        if verified["result_code"] != "SUCCESS":
            raise BadField(
                f"result_code is {shown(verified['result_code'])}: only a contract that was made is told"
            )
        if verified["change_type"] not in _CHANGES.values():
            raise BadField(f"change_type is {shown(verified['change_type'])}, expected ADD or DELETE")
        return cls._signed(
            verified,
            {
                "appid": get("appid", ""),
                "mch_id": shaped("mch_id", verified["mch_id"]),
                "sub_mch_id": get("sub_mch_id", ""),
                "change_type": verified["change_type"],
                "contract_id": shaped("contract_id", verified["contract_id"]),
                "contract_code": verified["contract_code"],
                "plan_id": verified["plan_id"],
                "openid": verified["openid"],
                "request_serial": get("request_serial", ""),
                "operate_time": beijing(verified["operate_time"]),
                "contract_expired_time": beijing(get("contract_expired_time", "")),
                "contract_termination_mode": get("contract_termination_mode", ""),
            },
        )

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> Contract:
        """
        Read an APIv3 event ENTRUST.SIGN or ENTRUST.TERMINATE.

        Raises:
            TypeError, MissingField, BadField: As for :meth:`from_verified`.

        Source:
            WeChat Pay APIv3, "entrusted payment, contract notification" (docs
            entrusted-payment/contract-alter-notify).
        """
        check_source(resource, VerifiedResource, "Contract.from_resource()")
        change_type = _CHANGES.get(resource.event_type)
        if change_type is None:
            raise BadField(f"event_type is {shown(resource.event_type)}, which neither signs nor terminates")
        partner = "sp_mchid" in resource
        mch_id = "sp_mchid" if partner else "mchid"
        require(resource, (mch_id, "contract_id", "out_contract_code", "plan_id"), _WHAT)
        plan_id = inside(resource, "plan_id")
        happened = "contract_signed_time" if change_type == "ADD" else "contract_terminated_time"
        return cls._signed(
            resource,
            {
                "dialect": "APIv3",
                "event_type": resource.event_type,
                "appid": text(resource, "sp_appid" if partner else "appid"),
                "mch_id": shaped("mch_id", text(resource, mch_id), mch_id),
                "sub_mch_id": text(resource, "sub_mchid"),
                "change_type": change_type,
                "contract_id": shaped("contract_id", text(resource, "contract_id")),
                "contract_code": text(resource, "out_contract_code"),
                "plan_id": str(plan_id) if type(plan_id) is int else text(resource, "plan_id"),
                "openid": text(resource, "sp_openid" if partner else "openid"),
                "request_serial": "",
                "operate_time": moment(text(resource, happened)),
                "contract_expired_time": moment(text(resource, "contract_expired_time")),
                "contract_termination_mode": "",
            },
        )

    @classmethod
    def _signed(cls, source: Verified | VerifiedResource, values: Mapping[str, Any]) -> Contract:
        change_type = values["change_type"]
        key = f"{cls.kind}/{values['mch_id']}/{values['contract_id']}/{change_type}"
        content = [values["sub_mch_id"], values["contract_code"], values["plan_id"]]
        return cls._make(
            source, {**values, "result": change_type, "key": key, "fingerprint": digest(content)}
        )


class PlateState(Notification):
    """
    A car's plate that can, or cannot any more, be deducted from; APIv2 only.

    It is told between entrance and exit, so a later one replaces an earlier one. Its
    ``repr`` does not show the plate, which is the payer's.
    """

    __slots__ = (
        "deduct_mode",
        "plate_number",
        "plate_number_info",
        "vehicle_event_createtime",
        "vehicle_event_des",
        "vehicle_event_type",
    )

    kind = "plate"
    _shown: ClassVar = ("key", "vehicle_event_createtime")

    # ``result`` is NORMAL or BLOCKED, as ``vehicle_event_type``.

    fields: Verified
    #: Of a parked car; empty on a motorway, which tells ``plate_number_info`` instead.
    plate_number: str
    #: JSON, as it came: the payer's plates, each with its ``channel_type``. Empty for a parked car.
    plate_number_info: str
    #: NORMAL: it can be deducted from. BLOCKED: it cannot.
    vehicle_event_type: str
    #: Why it is blocked: OVERDUE, REMOVE or PAUSE; empty where it is not.
    vehicle_event_des: str
    #: PROACTIVE or AUTOPAY; empty where it is blocked.
    deduct_mode: str
    #: Aware; None where unreadable.
    vehicle_event_createtime: datetime | None

    @classmethod
    def from_verified(cls, verified: Verified) -> PlateState:
        """
        Read verified APIv2 fields as the state of a plate.

        Args:
            verified: What :func:`verify` returned. It has no ``return_code``.

        Returns:
            The state.

        Raises:
            TypeError: If *verified* is anything else.

            MissingField: If a field every plate state has is absent.

            BadField: If ``vehicle_event_type`` is unknown.

        Source:
            WeChat Pay APIv2, "plate state notification" (vehicle_v2 chapter 20_912).
        """
        check_source(verified, Verified, "PlateState.from_verified()")
        get = verified.get
        plates = get("plate_number", "") or get("plate_number_info", "")
        require({**verified, "plate_number": plates}, (*_PLATE_ALWAYS, "plate_number"), "a plate state")
        state, when = verified["vehicle_event_type"], verified["vehicle_event_createtime"]
        if state not in ("NORMAL", "BLOCKED"):
            raise BadField(f"vehicle_event_type is {shown(state)}, expected NORMAL or BLOCKED")
        mch_id = shaped("mch_id", verified["mch_id"])
        # A plate is Chinese text of no fixed shape; as a digest it fits a key.
        plate = digest([plates, when]).hex()[:32]
        return cls._make(
            verified,
            {
                "appid": verified["appid"],
                "mch_id": mch_id,
                "sub_mch_id": get("sub_mch_id", ""),
                "plate_number": get("plate_number", ""),
                "plate_number_info": get("plate_number_info", ""),
                "vehicle_event_type": state,
                "vehicle_event_des": get("vehicle_event_des", ""),
                "deduct_mode": get("deduct_mode", ""),
                "vehicle_event_createtime": beijing(when),
                "result": state,
                "key": f"{cls.kind}/{mch_id}/{plate}/{state}",
                "fingerprint": digest([get("sub_mch_id", ""), plates, when, state]),
            },
        )
