"""The story, in the order in which people live it."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import digits
from knn_shapley import knn_shapley
from stubs import module, name

BATCH = 300
PAGE = 500
PATIENCE_SECONDS = 60
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def data():
    return digits.read()


def test_consents_are_given_refused_and_withdrawn(person, controller, study):
    ada, ben = person("ada"), person("ben")

    given = ada.consents.GiveConsent(**study.shown(ada, study.research))
    refused = ada.consents.RefuseConsent(**study.shown(ada, study.newsletter))
    ben.consents.GiveConsent(**study.shown(ben, study.research))
    ben.consents.GiveConsent(**study.shown(ben, study.newsletter))
    withdrawn = ben.consents.WithdrawConsent(subject_id=ben.subject_id, purpose_id=study.newsletter, reason="too much")
    assert [name(reply.consent, "status") for reply in (given, refused, withdrawn)] == ["GIVEN", "REFUSED", "WITHDRAWN"]
    assert (given.consent.notice_id, given.consent.notice_revision) == (study.notice, 1)

    def decide(person, purpose_id):
        decision = controller.decisions.CheckConsent(subject_id=person.subject_id, purpose_id=purpose_id)
        return name(decision, "decision"), name(decision, "reason"), decision.consent_id

    assert decide(ada, study.research) == ("PERMIT", "CONSENT_GIVEN", given.consent.consent_id)
    assert decide(ada, study.newsletter) == ("DENY", "CONSENT_REFUSED", refused.consent.consent_id)
    assert decide(ben, study.newsletter) == ("DENY", "CONSENT_WITHDRAWN", withdrawn.consent.consent_id)

    consents = ben.consents.ListConsents(subject_id=ben.subject_id).consents
    assert [(one.purpose_id, name(one, "status")) for one in consents] == [
        (study.newsletter, "WITHDRAWN"),
        (study.research, "GIVEN"),
    ], "one row per purpose, the latest change first"
    events = ben.consents.ListConsentEvents(consent_id=withdrawn.consent.consent_id).events
    assert [(name(event, "previous_status"), name(event, "status")) for event in events] == [
        ("GIVEN", "WITHDRAWN"),
        ("UNKNOWN", "GIVEN"),
    ], "the history, newest first"
    assert [event.reason for event in events] == ["too much", ""]


def test_a_check_outside_the_purpose_is_denied(person, controller, study):
    ada = person("ada")
    ada.consents.GiveConsent(**study.shown(ada, study.research))

    def reason(**question):
        fields = {"subject_id": ada.subject_id, "purpose_id": study.research, **question}
        decision = controller.decisions.CheckConsent(**fields)
        assert (name(decision, "decision") == "PERMIT") == (name(decision, "reason") == "CONSENT_GIVEN")
        return name(decision, "reason")

    assert reason() == "CONSENT_GIVEN"
    assert reason(personal_data=["pd:Handwriting"]) == "CONSENT_GIVEN"
    assert reason(personal_data=["pd:Handwriting", "pd:EmailAddress"]) == "PERSONAL_DATA_NOT_COVERED"
    assert reason(recipient="Somebody Else Ltd") == "RECIPIENT_NOT_COVERED"
    assert reason(purpose_id=study.newsletter) == "NO_CONSENT"
    assert reason(purpose_id=ada.subject_id) == "PURPOSE_UNKNOWN"
    assert reason(subject_id=study.research) == "NO_CONSENT"


def test_a_controller_records_on_behalf(person, controller, study):
    ada = person("ada")
    controller.consents.GiveConsent(**study.shown(ada, study.research))
    (event,) = ada.consents.ListConsentEvents(subject_id=ada.subject_id).events
    assert (name(event, "status"), event.actor_id) == ("GIVEN", controller.account_id)


def test_the_same_request_twice_is_done_once(person, study):
    ada = person("ada")
    request = {**study.shown(ada, study.research), "request_id": "0198c5a4-7b1e-7c3a-9f20-" + ada.subject_id[-12:]}
    assert ada.consents.GiveConsent(**request) == ada.consents.GiveConsent(**request)
    assert len(ada.consents.ListConsentEvents(subject_id=ada.subject_id).events) == 1


def test_many_at_once_have_one_effect(person, study):
    ada = person("ada")
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: ada.consents.GiveConsent(**study.shown(ada, study.research)), range(20)))
    assert len({reply.consent.consent_id for reply in replies}) == 1
    assert len(ada.consents.ListConsentEvents(subject_id=ada.subject_id).events) == 1


def test_all_consents_are_withdrawn_at_once(person, study):
    ada = person("ada")
    for purpose_id in (study.research, study.newsletter):
        ada.consents.GiveConsent(**study.shown(ada, purpose_id))
    replies = ada.consents.WithdrawAllConsents(subject_id=ada.subject_id).replies
    assert [name(reply.consent, "status") for reply in replies] == ["WITHDRAWN"] * 2
    assert not ada.consents.WithdrawAllConsents(subject_id=ada.subject_id).replies


def test_values_are_exact_and_those_of_the_withdrawn_disappear(person, controller, study, data):
    ada, ben = person("ada"), person("ben")
    for someone in (ada, ben):
        someone.consents.GiveConsent(**study.shown(someone, study.research))
    dataset_id = controller.datasets.CreateDataset(
        dataset={
            "display_name": "Digits",
            "task": "TASK_CLASSIFICATION",
            "feature_count": digits.FEATURES,
            "purpose_id": study.research,
        }
    ).dataset_id
    train, validation = data
    owner = {id: (ada, ben)[i % 2].subject_id for part in data for i, id in enumerate(part.ids)}
    appended = controller.datasets.AppendRecords(stream(dataset_id, data, owner))
    assert appended.appended_count == 1797
    dataset = controller.datasets.GetDataset(dataset_id=dataset_id)
    assert (dataset.training_record_count, dataset.validation_record_count) == (1297, 500)

    everybody = value(controller, dataset_id)
    assert everybody.record_count == 1297 and not everybody.exclusions
    golden = digits.golden()
    np.testing.assert_allclose(knn_shapley(*inputs(train, validation), digits.K), list(golden.values()), atol=TOLERANCE)
    compare(controller, everybody, golden, owner)

    ada.consents.WithdrawConsent(subject_id=ada.subject_id, purpose_id=study.research)
    rest = value(controller, dataset_id)
    bens = [part.of(np.array([owner[id] == ben.subject_id for id in part.ids])) for part in data]
    expected = dict(zip(bens[0].ids, knn_shapley(*inputs(*bens), digits.K), strict=True))
    compare(controller, rest, expected, owner)
    (exclusion,) = rest.exclusions
    assert name(exclusion, "cause") == "NOT_PERMITTED"
    left_out = (exclusion.training_record_count, exclusion.validation_record_count, exclusion.subject_count)
    assert left_out == (649, 250, 1)

    # The person's own view: Ben reads his value, and nobody can read one of Ada's there.
    own = ben.valuations.GetSubjectValue(valuation_id=rest.valuation_id, subject_id=ben.subject_id)
    assert own.record_count == 648 and abs(own.value - sum(expected.values())) < TOLERANCE
    (subject,) = controller.valuations.ListSubjectValues(valuation_id=rest.valuation_id).subject_values
    assert subject.subject_id == ben.subject_id
    of_ada = controller.valuations.ListRecordValues(valuation_id=rest.valuation_id, subject_id=ada.subject_id)
    assert not of_ada.record_values


def inputs(train, validation):
    return train.features, train.labels, validation.features, validation.labels


def stream(dataset_id, data, owner):
    """The dataset's id, then its records in batches."""
    request = module("portal.valuation.v1.dataset_service_pb2").AppendRecordsRequest
    yield request(dataset_id=dataset_id)
    for part in data:
        for start in range(0, len(part.ids), BATCH):
            rows = slice(start, start + BATCH)
            yield request(
                batch={
                    "record_ids": part.ids[rows],
                    "subject_ids": [owner[id] for id in part.ids[rows]],
                    "features": part.features[rows].ravel(),
                    "labels": part.labels[rows],
                    "split": f"SPLIT_{part.split}",
                }
            )


def value(controller, dataset_id):
    """Starts a valuation, watches it by polling and by the stream, returns it once it has succeeded."""
    started = controller.valuations.StartValuation(
        dataset_id=dataset_id, method="METHOD_KNN_SHAPLEY", parameters={"k": digits.K}
    )
    valuation_id = started.name.removeprefix("operations/")
    watched = list(controller.valuations.WatchValuation(valuation_id=valuation_id))
    assert name(watched[-1], "state") == "SUCCEEDED"
    done = [progress.done_units for progress in watched]
    assert done == sorted(done) and watched[-1].done_units == watched[-1].total_units > 0
    operation = finished(controller, started.name)
    valuation = module("portal.valuation.v1.valuation_pb2").Valuation()
    assert operation.WhichOneof("result") == "response" and operation.response.Unpack(valuation)
    assert valuation.valuation_id == valuation_id and name(valuation, "state") == "SUCCEEDED"
    return valuation


def finished(controller, operation_name):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (operation := controller.operations.GetOperation(name=operation_name)).done:
        progress = module("portal.valuation.v1.valuation_pb2").ValuationProgress()
        assert operation.metadata.Unpack(progress)
        assert time.monotonic() < deadline, f"{operation_name}: {progress}"
        time.sleep(0.05)
    return operation


def compare(controller, valuation, expected, owner):
    """Every value, on pages in order of rank, against what it must be."""
    listed, token, pages = [], "", 0
    while pages == 0 or token:
        page = controller.valuations.ListRecordValues(
            valuation_id=valuation.valuation_id,
            page_size=PAGE,
            page_token=token,
            order="VALUE_ORDER_HIGHEST_FIRST",
        )
        listed, token, pages = [*listed, *page.record_values], page.next_page_token, pages + 1
    assert pages == -(-len(expected) // PAGE)
    assert len(listed) == valuation.record_count
    values = [one.value for one in listed]
    assert values == sorted(values, reverse=True)
    assert {one.record_id: one.subject_id for one in listed} == {id: owner[id] for id in expected}
    np.testing.assert_allclose(values, [expected[one.record_id] for one in listed], rtol=0, atol=TOLERANCE)
