{{- define "comity.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "comity.fullname" -}}
{{- $name := include "comity.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "comity.selectorLabels" -}}
app.kubernetes.io/name: {{ include "comity.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "comity.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "comity.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "comity.serviceAccountName" -}}
{{- default (ternary (include "comity.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "comity.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What the schema cannot say: combinations that would only fail in the pod, each refused in one sentence. */}}
{{- define "comity.check" -}}
{{- $config := .Values.config }}
{{- if not (or .Values.auth.existingSecret (dig "server" "allow_anonymous" false $config)) }}
{{- fail "Comity needs API keys: set auth.existingSecret to a Secret with the key api-keys, or config.server.allow_anonymous to true." }}
{{- end }}
{{- range list "backend" "judge" }}
{{- if hasKey (get $config . | default dict) "api_key" }}
{{- fail (printf "config.%s.api_key would put a secret into a ConfigMap: set %s.existingSecret instead." . .) }}
{{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not (dig "requests" "cpu" "" .Values.resources)) }}
{{- fail "autoscaling measures against resources.requests.cpu, which is not set." }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." }}
{{- end }}
{{- end }}
