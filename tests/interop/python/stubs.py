"""A thin face over the generated stubs: `person.consents.GiveConsent(subject_id=…)`."""

import importlib
import uuid
from dataclasses import dataclass
from functools import cached_property

import grpc
from google.protobuf import message_factory

DEADLINE_SECONDS = 30


def module(name):
    """A generated module; they exist only once the tests run."""
    return importlib.import_module(name)


class Service:
    """One service with one caller's token; keyword arguments make the request message."""

    def __init__(self, channel, package, file, service, token=None):
        messages = module(f"{package}.{file}_pb2")
        self._methods = messages.DESCRIPTOR.services_by_name[service].methods_by_name
        self._stub = getattr(module(f"{package}.{file}_pb2_grpc"), f"{service}Stub")(channel)
        self._metadata = [("authorization", f"Bearer {token}")] if token is not None else []

    def __getattr__(self, name):
        method, call = self._methods[name], getattr(self._stub, name)

        def invoke(stream=None, **fields):
            if stream is None:
                fields = self._with_request_id(method, fields)
                stream = message_class(method.input_type)(**fields)
            return call(stream, timeout=DEADLINE_SECONDS, metadata=self._metadata)

        return invoke

    @staticmethod
    def _with_request_id(method, fields):
        if "request_id" in method.input_type.fields_by_name:
            return {"request_id": str(uuid.uuid4()), **fields}
        return fields


def message_class(descriptor):
    return message_factory.GetMessageClass(descriptor)


class Portal:
    """The services behind one channel."""

    def __init__(self, channel):
        self.channel = channel

    def service(self, package, file, service, token=None):
        return Service(self.channel, package, file, service, token)


class Person:
    """Someone with an account, and what they reach with their token."""

    def __init__(self, portal, email, password):
        self.portal, self.email, self.password = portal, email, password
        self.token = self.account_id = self.subject_id = self.session = None

    def register(self, display_name):
        account = self.anonymous("auth", "account_service", "AccountService").CreateAccount(
            email=self.email, password=self.password, display_name=display_name
        )
        assert account.email == self.email and list(account.roles) == ["subject"]
        self.account_id, self.subject_id = account.account_id, account.subject_id
        return self

    def sign_in(self):
        reply = self.anonymous("auth", "session_service", "SessionService").CreateSession(
            email=self.email, password=self.password
        )
        assert reply.WhichOneof("result") == "session"
        self.session, self.token = reply.session, reply.session.access_token
        assert self.subject_id in (None, reply.session.subject_id)
        self.account_id, self.subject_id = reply.session.account_id, reply.session.subject_id
        return self

    def anonymous(self, package, file, service):
        return self.portal.service(f"portal.{package}.v1", file, service)

    def _service(self, package, file, service):
        return self.portal.service(package, file, service, self.token)

    accounts = cached_property(lambda self: self._service("portal.auth.v1", "account_service", "AccountService"))
    sessions = cached_property(lambda self: self._service("portal.auth.v1", "session_service", "SessionService"))
    purposes = cached_property(lambda self: self._service("portal.consent.v1", "purpose_service", "PurposeService"))
    notices = cached_property(lambda self: self._service("portal.consent.v1", "notice_service", "NoticeService"))
    consents = cached_property(lambda self: self._service("portal.consent.v1", "consent_service", "ConsentService"))
    decisions = cached_property(lambda self: self._service("portal.consent.v1", "decision_service", "DecisionService"))
    datasets = cached_property(lambda self: self._service("portal.valuation.v1", "dataset_service", "DatasetService"))
    valuations = cached_property(
        lambda self: self._service("portal.valuation.v1", "valuation_service", "ValuationService")
    )
    operations = cached_property(lambda self: self._service("google.longrunning", "operations", "Operations"))


@dataclass(frozen=True)
class Study:
    """What people are asked: research on their handwriting, and a newsletter."""

    research: str
    newsletter: str
    notice: str

    @classmethod
    def publish(cls, controller):
        research = publish_purpose(controller, "Handwriting research", ["pd:Handwriting"])
        newsletter = publish_purpose(controller, "Newsletter", ["pd:EmailAddress"])
        notice = controller.notices.CreateNotice(
            notice={
                "title": "Handwriting study",
                "bodies": {"en": "# Handwriting study\n\nYou decide on each purpose.", "de": "# Handschriftenstudie"},
                "purpose_ids": [research, newsletter],
            }
        )
        published = controller.notices.PublishNotice(notice_id=notice.notice_id, etag=notice.etag)
        assert published.revision == 1 and len(published.content_hash) == 48
        return cls(research, newsletter, notice.notice_id)

    def shown(self, person, purpose_id):
        """The request of someone who was shown the notice."""
        return {
            "subject_id": person.subject_id,
            "purpose_id": purpose_id,
            "notice_id": self.notice,
            "language": "en",
            "method": "INDICATION_METHOD_BUTTON",
        }


def publish_purpose(controller, display_name, personal_data):
    purpose = controller.purposes.CreatePurpose(
        purpose={
            "display_name": display_name,
            "legal_basis": "LEGAL_BASIS_CONSENT",
            "dpv_purposes": ["dpv:ResearchAndDevelopment"],
            "personal_data": personal_data,
            "jurisdiction": "DE",
        }
    )
    published = controller.purposes.PublishPurpose(purpose_id=purpose.purpose_id, etag=purpose.etag)
    assert published.revision == 1
    return purpose.purpose_id


def name(message, field):
    """The name of an enum's value without the enum's own prefix."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    prefix = "".join("_" + letter if letter.isupper() else letter.upper() for letter in enum.name).lstrip("_") + "_"
    return enum.values_by_number[getattr(message, field)].name.removeprefix(prefix)


@dataclass(frozen=True)
class Refusal:
    """How a call failed: the code, the reason in its ErrorInfo, the fields in its BadRequest."""

    code: grpc.StatusCode
    reason: str
    fields: tuple = ()


def refusal(call):
    """Calls; returns how that was refused, once the details are seen to agree with the status."""
    try:
        call()
    except grpc.RpcError as error:
        return _refusal(error)
    raise AssertionError("the call must be refused")


def _refusal(error):
    details = module("google.rpc.error_details_pb2")
    trailers = dict(error.trailing_metadata())
    assert "grpc-status-details-bin" in trailers, f"{error.code()}: {error.details()}: no details"
    status = module("google.rpc.status_pb2").Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, bad_request = details.ErrorInfo(), details.BadRequest()
    for detail in status.details:
        for wanted in (info, bad_request):
            if detail.Is(wanted.DESCRIPTOR):
                detail.Unpack(wanted)
    assert info.domain == "portal"
    return Refusal(error.code(), info.reason, tuple(violation.field for violation in bad_request.field_violations))
