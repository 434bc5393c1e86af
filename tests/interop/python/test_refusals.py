"""What must not work: a typed error each time, and nothing written."""

import grpc
import pytest

from stubs import Person, Refusal, module, refusal

INVALID, DENIED, UNAUTHENTICATED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)


@pytest.fixture
def ada(person):
    return person("ada")


def test_nobody_reaches_anothers_data(ada, person, study):
    ada.consents.GiveConsent(**study.shown(ada, study.research))
    ben = person("ben")
    for call in (
        lambda: ben.consents.ListConsents(subject_id=ada.subject_id),
        lambda: ben.consents.ListConsentEvents(subject_id=ada.subject_id),
        lambda: ben.consents.GiveConsent(**study.shown(ada, study.newsletter)),
        lambda: ben.consents.WithdrawConsent(subject_id=ada.subject_id, purpose_id=study.research),
        lambda: ben.decisions.CheckConsent(subject_id=ada.subject_id, purpose_id=study.research),
        lambda: ben.accounts.GetAccount(account_id=ada.account_id),
    ):
        assert refusal(call) == Refusal(DENIED, "NOT_YOUR_DATA")
    (consent,) = ada.consents.ListConsents(subject_id=ada.subject_id).consents
    assert consent.purpose_id == study.research


def test_what_roles_are_for(ada, study):
    for call in (
        lambda: ada.accounts.SetRoles(account_id=ada.account_id, roles=["operator"]),
        ada.accounts.ListAccounts,
        lambda: ada.purposes.CreatePurpose(purpose={"display_name": "Mine", "legal_basis": "LEGAL_BASIS_CONSENT"}),
        lambda: ada.purposes.PublishPurpose(purpose_id=study.research),
        ada.datasets.ListDatasets,
    ):
        assert refusal(call) == Refusal(DENIED, "ROLE_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [(None, "TOKEN_MISSING"), ("Basic YTpi", "TOKEN_SCHEME"), ("Bearer not-a-token", "TOKEN_INVALID")],
)
def test_each_wrong_token_is_told_apart(portal, ada, authorization, reason):
    consents = portal.service("portal.consent.v1", "consent_service", "ConsentService")
    consents._metadata = [("authorization", authorization)] if authorization else []
    assert refusal(lambda: consents.ListConsents(subject_id=ada.subject_id)) == Refusal(UNAUTHENTICATED, reason)


def test_a_session_that_was_ended_is_refused(portal, ada):
    ada.sessions.RevokeSession(session_id=ada.session.session_id)
    assert refusal(lambda: ada.consents.ListConsents(subject_id=ada.subject_id)).code == UNAUTHENTICATED
    again = Person(portal, ada.email, ada.password).sign_in()
    assert not again.consents.ListConsents(subject_id=ada.subject_id).consents


def test_refreshing_rotates(ada):
    sessions = ada.anonymous("auth", "session_service", "SessionService")
    renewed = sessions.RefreshSession(refresh_token=ada.session.refresh_token)
    assert renewed.session_id == ada.session.session_id
    assert renewed.refresh_token != ada.session.refresh_token and renewed.access_token != ada.token
    unknown = ada.session.refresh_token[:-4] + "AAAA"
    assert refusal(lambda: sessions.RefreshSession(refresh_token=unknown)).code == UNAUTHENTICATED


def test_wrong_email_and_wrong_password_look_the_same(portal, ada):
    wrong_password = refusal(Person(portal, ada.email, "not the password").sign_in)
    wrong_email = refusal(Person(portal, f"nobody-{ada.email}", ada.password).sign_in)
    assert wrong_password == wrong_email and wrong_email.code == UNAUTHENTICATED


def test_wrong_input_names_every_field(ada, controller, study):
    def check(fields, call):
        assert refusal(call) == Refusal(INVALID, "INVALID_FIELD", tuple(fields))

    subject = ada.subject_id
    check(["page_size"], lambda: ada.consents.ListConsents(subject_id=subject, page_size=-1))
    check(["page_token"], lambda: ada.consents.ListConsents(subject_id=subject, page_token="made-up"))
    check(["subject_id"], lambda: ada.consents.ListConsents(subject_id="42"))
    give = study.shown(ada, study.research)
    check(["request_id"], lambda: ada.consents.GiveConsent(**{**give, "request_id": "again"}))
    wrong = {**give, "purpose_id": "p", "notice_id": "n", "language": "not a language"}
    check(["purpose_id", "notice_id", "language"], lambda: ada.consents.GiveConsent(**wrong))
    check(["purpose.display_name", "purpose.legal_basis"], lambda: controller.purposes.CreatePurpose(purpose={}))
    assert not ada.consents.ListConsents(subject_id=subject).consents, "nothing was written"


def test_a_purpose_that_is_not_published_takes_no_consent(ada, controller, study):
    draft = controller.purposes.CreatePurpose(
        purpose={"display_name": "A draft", "legal_basis": "LEGAL_BASIS_CONSENT", "jurisdiction": "DE"}
    )
    refused = refusal(lambda: ada.consents.GiveConsent(**study.shown(ada, draft.purpose_id)))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION, refused
    assert not ada.consents.ListConsents(subject_id=ada.subject_id).consents


def test_nothing_is_withdrawn_that_was_not_given(ada, study):
    refused = refusal(lambda: ada.consents.WithdrawConsent(subject_id=ada.subject_id, purpose_id=study.research))
    assert refused.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION), refused


def test_a_broken_batch_stores_nothing(ada, controller, study):
    dataset = controller.datasets.CreateDataset(
        dataset={
            "display_name": "Broken",
            "task": "TASK_CLASSIFICATION",
            "feature_count": 2,
            "purpose_id": study.research,
        }
    )

    def append(*batches):
        fields = {"subject_ids": [ada.subject_id], "features": [0, 1], "labels": [0], "split": "SPLIT_TRAIN"}
        stream = [{"dataset_id": dataset.dataset_id}]
        stream += [{"batch": {"record_ids": [f"record-{i}"], **fields, **batch}} for i, batch in enumerate(batches)]
        return controller.datasets.AppendRecords(messages(stream))

    for broken in (
        {"features": [0, float("nan")]},
        {"features": [0]},
        {"labels": [-1]},
        {"labels": [0.5]},
        {"subject_ids": ["somebody"]},
        {"record_ids": [""]},
        {"split": "SPLIT_UNSPECIFIED"},
    ):
        refused = refusal(lambda broken=broken: append({}, broken))
        assert (refused.code, refused.reason) == (INVALID, "INVALID_FIELD"), broken
        assert refused.fields, broken
    twice = refusal(lambda: append({"record_ids": ["same"]}, {"record_ids": ["same"]}))
    assert twice.code == grpc.StatusCode.ALREADY_EXISTS
    stored = controller.datasets.GetDataset(dataset_id=dataset.dataset_id)
    assert (stored.training_record_count, stored.revision) == (0, dataset.revision)


def messages(stream):
    request = module("portal.valuation.v1.dataset_service_pb2").AppendRecordsRequest
    return iter([request(**fields) for fields in stream])


@pytest.fixture
def raw(channel, ada):
    """Sends bytes as they are."""

    def send(payload, method="/portal.consent.v1.ConsentService/ListConsents"):
        return channel.unary_unary(method)(payload, metadata=[("authorization", f"Bearer {ada.token}")], timeout=10)

    return send


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe"], ids=["malformed", "not UTF-8"])
def test_bytes_that_are_no_message(raw, garbage):
    told = refusal(lambda: raw(garbage))
    assert (told.code, told.reason) == (INVALID, "MALFORMED_MESSAGE")


def test_a_message_that_is_too_large(raw, ada):
    too_large = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert refusal(lambda: raw(bytes(5 * 1024 * 1024))) == too_large
    assert not ada.consents.ListConsents(subject_id=ada.subject_id).consents, "the process is alive"


def test_a_method_that_does_not_exist(raw):
    unknown = refusal(lambda: raw(b"", "/portal.nothing.v1.NothingService/Nothing"))
    assert unknown == Refusal(grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
    # In a package that exists the policy table speaks first: a method without a row is refused.
    assert refusal(lambda: raw(b"", "/portal.consent.v1.ConsentService/Nothing")) == Refusal(DENIED, "NO_POLICY")
