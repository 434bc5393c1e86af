{{/*
The mesh itself: who listens where and who calls whom. Not values: the edges are facts of the binary, and one
table draws the configuration, the Services and the NetworkPolicies.
  port       where the service listens
  database   it owns a database, and another one for its keys
  upstreams  the services it calls
*/}}
{{- define "portal.mesh" -}}
auth: {port: 3001, database: true, upstreams: []}
consent: {port: 3000, database: true, upstreams: [auth]}
gateway: {port: 8080, database: false, upstreams: [auth, consent, valuation]}
valuation: {port: 3002, database: true, upstreams: [auth, consent]}
{{- end -}}

{{/* Labels of the whole release: {root}. */}}
{{- define "portal.releaseLabels" -}}
app.kubernetes.io/name: portal
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- end -}}

{{/* What selects the pods of one service, and never changes: {root, name}. */}}
{{- define "portal.selector" -}}
{{ include "portal.releaseLabels" . }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels of an object: {root} for the release's, {root, name} for a service's. */}}
{{- define "portal.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "portal.releaseLabels" . }}
{{- with .name }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* The image: by digest when one is given. */}}
{{- define "portal.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{/* Names of the Secrets, made outside the chart: {root, name}. */}}
{{- define "portal.tlsSecret" -}}
{{- default (printf "%s-%s-tls" .root.Release.Name .name) (index .root.Values.services .name).tlsSecret -}}
{{- end -}}
{{- define "portal.keysSecret" -}}
{{- default (printf "%s-%s-keys" .root.Release.Name .name) (index .root.Values.services .name).keysSecret -}}
{{- end -}}
{{- define "portal.databaseSecret" -}}
{{- default (printf "%s-%s-database" .root.Release.Name .name) (index .root.Values.services .name).databaseSecret -}}
{{- end -}}
{{- define "portal.operatorSecret" -}}
{{- default (printf "%s-operator" .root.Release.Name) .root.Values.operator.passwordSecret -}}
{{- end -}}

{{/* The Secrets with certificates for clients, of those that there are: kind to name. */}}
{{- define "portal.edgeTls" -}}
{{- with .Values.edge.tls.ecdsaSecret }}
ecdsa: {{ . | quote }}
{{- end }}
{{- with .Values.edge.tls.mlDsaSecret }}
mlDsa: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The Secret with what mail takes: the chart's own or a given one. */}}
{{- define "portal.mailSecret" -}}
{{- default (printf "%s-mail" .root.Release.Name) .root.Values.mail.secret -}}
{{- end -}}

{{/* What the mail Secret holds: file names, with spaces between them; nothing if none is needed. */}}
{{- define "portal.mailFiles" -}}
{{- $mail := .Values.mail -}}
{{- if $mail.host -}}
{{- if $mail.user }}password {{ end -}}
{{- if $mail.privateCa }}ca.crt{{ end -}}
{{- end -}}
{{- end -}}

{{/* What a service's keys Secret holds: file names, with spaces between them. */}}
{{- define "portal.keysFiles" -}}
{{- $keys := .Values.keys -}}
{{- if eq $keys.provider "vault" -}}
vault-token vault-ca.crt
{{- else -}}
root-keys.json
{{- if $keys.file.passphrase }} passphrase{{ end -}}
{{- end -}}
{{- if $keys.importServiceSecret }} service-secret{{ end -}}
{{- end -}}

{{/* The name of a service's key in the Transit engine: {root, name}. */}}
{{- define "portal.vaultKey" -}}
{{- default (printf "%s-%s" .root.Release.Name .name) .root.Values.keys.vault.key -}}
{{- end -}}

{{/* The configuration file of one service: {root, name}. JSON strings are TOML strings. */}}
{{- define "portal.config" -}}
{{- $values := .root.Values -}}
{{- $mesh := include "portal.mesh" .root | fromYaml -}}
{{- $service := get $mesh .name -}}
[server]
listen = {{ printf "0.0.0.0:%v" $service.port | toJson }}
admin_listen = "0.0.0.0:9464"
drain_seconds = {{ $values.drainSeconds }}

[identity]
trust_domain = {{ $values.trustDomain | toJson }}
certificate_file = "/etc/portal/tls/tls.crt"
private_key_file = "/etc/portal/tls/tls.key"
trust_bundle_file = "/etc/portal/tls/ca.crt"
{{- if $service.database }}

[database]
{{- if eq $values.database.kind "sqlite" }}
url = {{ printf "sqlite:/var/lib/portal/%s.db" .name | toJson }}
{{- else }}
url_file = "/etc/portal/db/url"
{{- end }}
max_connections = {{ $values.database.maxConnections }}

[keys]
{{- $keys := $values.keys }}
provider = {{ $keys.provider | toJson }}
{{- if eq $keys.provider "vault" }}
vault_address = {{ $keys.vault.address | toJson }}
vault_token_file = "/etc/portal/keys/vault-token"
vault_ca_file = "/etc/portal/keys/vault-ca.crt"
vault_mount = {{ $keys.vault.mount | toJson }}
vault_key = {{ include "portal.vaultKey" . | toJson }}
{{- else }}
root_key_file = "/etc/portal/keys/root-keys.json"
{{- if $keys.file.passphrase }}
passphrase_file = "/etc/portal/keys/passphrase"
{{- end }}
{{- end }}
{{- if eq $values.database.kind "sqlite" }}
database_url = {{ printf "sqlite:/var/lib/portal/%s.keys.db" .name | toJson }}
{{- else }}
database_url_file = "/etc/portal/db/keys-url"
{{- end }}
provider_timeout_seconds = {{ $keys.providerTimeoutSeconds }}
cache_ttl_seconds = {{ $keys.cacheTtlSeconds }}
epoch_days = {{ $keys.epochDays }}
disabled_algorithms = {{ $keys.disabledAlgorithms | toJson }}
{{- if $keys.importServiceSecret }}
import_service_secret_file = "/etc/portal/keys/service-secret"
{{- end }}
{{- end }}
{{- with $service.upstreams }}

[upstreams]
{{- range . }}
{{ . }} = {{ printf "%s-%s:%v" $.root.Release.Name . (get $mesh .).port | toJson }}
{{- end }}
{{- end }}
{{- if and $service.database $values.authorization.policies }}

[authorization]
policies = "/etc/portal/policies"
{{- end }}

[telemetry]
log = {{ $values.telemetry.log | toJson }}
{{- if eq .name "auth" }}

[operator]
email = {{ $values.operator.email | toJson }}
password_file = "/etc/portal/operator/password"

[passwords]
{{- range $key, $value := $values.passwords }}
{{- if or $value (ne $key "perSecond") }}
{{ snakecase $key }} = {{ int $value }}
{{- end }}
{{- end }}

[totp]
issuer = {{ $values.totp.issuer | toJson }}

[oauth]
questions_per_minute = {{ int $values.oauth.questionsPerMinute }}
grants_per_minute = {{ int $values.oauth.grantsPerMinute }}
user_codes_per_minute = {{ int $values.oauth.userCodesPerMinute }}
{{- if $values.oauth.clientCaSecret }}
client_ca_file = "/etc/portal/clients/ca.crt"
{{- end }}

[tokens]
rotation_days = {{ int $values.tokens.rotationDays }}
{{- with $values.passkeys }}
{{- if .rpId }}

[passkeys]
rp_id = {{ .rpId | toJson }}
rp_name = {{ .rpName | toJson }}
origins = {{ .origins | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- $mail := $values.mail }}
{{- if and (eq .name "auth") $mail.host }}

[mail]
transport = "smtp"
sender = {{ $mail.sender | toJson }}
public_url = {{ $mail.publicUrl | toJson }}
host = {{ $mail.host | toJson }}
port = {{ $mail.port }}
tls = {{ $mail.tls | toJson }}
{{- if $mail.user }}
user = {{ $mail.user | toJson }}
password_file = "/etc/portal/mail/password"
{{- end }}
{{- if $mail.privateCa }}
ca_file = "/etc/portal/mail/ca.crt"
{{- end }}
{{- end }}
{{- if eq .name "consent" }}

[decisions]
source = {{ $values.consent.decisions | toJson }}
{{- if $values.consent.requestDays }}

[renewal]
request_days = {{ $values.consent.requestDays }}
{{- end }}
{{- if $values.consent.organisation.partyId }}

[organisation]
{{- range $key, $value := $values.consent.organisation }}
{{- with $value }}
{{ snakecase $key }} = {{ . | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .name "gateway" }}

[edge]
cors_origins = {{ $values.edge.corsOrigins | toJson }}
trusted_proxies = {{ $values.edge.trustedProxies | toJson }}
{{- with $values.edge.publicUrl }}
public_url = {{ . | toJson }}
{{- end }}
{{- with include "portal.edgeTls" .root | fromYaml }}

[edge_tls]
{{- range $kind, $_ := . }}
{{ snakecase $kind }}_certificate_file = "/etc/portal/edge-{{ kebabcase $kind }}/tls.crt"
{{ snakecase $kind }}_private_key_file = "/etc/portal/edge-{{ kebabcase $kind }}/tls.key"
{{- end }}
{{- end }}
{{- end }}
{{ end -}}
