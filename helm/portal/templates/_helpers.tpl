{{/*
The mesh itself: who listens where and who calls whom. Not values: the edges are facts of the binary, and one
table draws the configuration, the Services and the NetworkPolicies.
  port       where the service listens
  database   it owns a database and a service secret
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
{{- define "portal.serviceSecret" -}}
{{- default (printf "%s-%s-secret" .root.Release.Name .name) (index .root.Values.services .name).serviceSecret -}}
{{- end -}}
{{- define "portal.databaseSecret" -}}
{{- default (printf "%s-%s-database" .root.Release.Name .name) (index .root.Values.services .name).databaseSecret -}}
{{- end -}}
{{- define "portal.operatorSecret" -}}
{{- default (printf "%s-operator" .root.Release.Name) .root.Values.operator.passwordSecret -}}
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

[secrets]
service_secret_file = "/etc/portal/secret/service-secret"
{{- end }}
{{- with $service.upstreams }}

[upstreams]
{{- range . }}
{{ . }} = {{ printf "%s-%s:%v" $.root.Release.Name . (get $mesh .).port | toJson }}
{{- end }}
{{- end }}

[telemetry]
log = {{ $values.telemetry.log | toJson }}
{{- if eq .name "auth" }}

[operator]
email = {{ $values.operator.email | toJson }}
password_file = "/etc/portal/operator/password"
{{- end }}
{{- if eq .name "gateway" }}

[edge]
cors_origins = {{ $values.edge.corsOrigins | toJson }}
{{- end }}
{{ end -}}
