"""A client that knows nothing beforehand: health and server reflection, with the stock libraries."""

from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVING = health_pb2.HealthCheckResponse.SERVING


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "portal.consent.v1.ConsentService", "portal.auth.v1.SessionService", "valuation"):
        assert health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == SERVING, service
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    assert next(watch).status == SERVING
    watch.cancel()


def test_reflection_is_enough_to_make_a_call(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {
        "portal.consent.v1.ConsentService",
        "portal.auth.v1.AccountService",
        "portal.valuation.v1.ValuationService",
        "google.longrunning.Operations",
        "grpc.health.v1.Health",
    } <= services
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName("portal.auth.v1.TokenService").FindMethodByName("GetKeySet")
    request = message_factory.GetMessageClass(method.input_type)()
    reply = channel.unary_unary(
        "/portal.auth.v1.TokenService/GetKeySet",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )(request, timeout=10)
    assert len(reply.keys) >= 1
