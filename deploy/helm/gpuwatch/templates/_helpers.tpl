{{- define "gpuwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "gpuwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "gpuwatch.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gpuwatch.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "gpuwatch.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{/* What an object is known by for ever: no version in it. Takes (list $ "agent"). */}}
{{- define "gpuwatch.selector" -}}
app.kubernetes.io/name: {{ include "gpuwatch.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "gpuwatch.labels" -}}
{{- $root := index . 0 -}}
{{ include "gpuwatch.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: gpuwatch
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gpuwatch.serviceAccount" -}}
{{- $root := index . 0 -}}{{- $part := index $root.Values (index . 1) -}}
{{- if $part.serviceAccount.create -}}
{{- default (printf "%s-%s" (include "gpuwatch.fullname" $root) (index . 1)) $part.serviceAccount.name -}}
{{- else -}}
{{- default "default" $part.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* The user that both daemons are. */}}
{{- define "gpuwatch.user" -}}65534{{- end }}

{{- define "gpuwatch.containerSecurity" -}}
runAsNonRoot: true
runAsUser: {{ include "gpuwatch.user" . }}
runAsGroup: {{ include "gpuwatch.user" . }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* From root to the agent's user, with the capabilities that show other users' processes. */}}
{{- define "gpuwatch.others" -}}
{{- $kept := "+sys_ptrace,+dac_read_search" -}}
{{- $user := include "gpuwatch.user" . -}}
setpriv --reuid={{ $user }} --regid={{ $user }} --groups={{ .Values.agent.hostAccess.group }} --inh-caps={{ $kept }} --ambient-caps={{ $kept }}
{{- end }}

{{/* A container that is root with nothing but these capabilities. */}}
{{- define "gpuwatch.rootSecurity" -}}
runAsNonRoot: false
runAsUser: 0
runAsGroup: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: [{{ join ", " . }}]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Whether the kubelet, which has neither name nor certificate, could ask /-/healthy. */}}
{{- define "gpuwatch.web.open" -}}
{{- if not (or .Values.web.existingSecret .Values.web.basicAuth.users .Values.web.tls.clientCertificates) }}true{{ end -}}
{{- end }}

{{- define "gpuwatch.web.file" -}}
{{- if or .Values.web.existingSecret .Values.web.tls.enabled .Values.web.basicAuth.users }}/etc/gpuwatch/web/web-config.yml{{ end -}}
{{- end }}

{{/* A probe of a path, or of the port alone. Takes (list $ "/-/healthy"). */}}
{{- define "gpuwatch.probe" -}}
{{- $root := index . 0 -}}
{{- if include "gpuwatch.web.open" $root -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  {{- if $root.Values.web.tls.enabled }}
  scheme: HTTPS
  {{- end }}
{{- else -}}
tcpSocket:
  port: http
{{- end }}
{{- end }}

{{- define "gpuwatch.scheme" -}}
{{- if .Values.web.tls.enabled }}https{{ else }}http{{ end -}}
{{- end }}

{{/* Volumes and mounts that both daemons have. Take (list $ "agent"). */}}
{{- define "gpuwatch.volumes" -}}
{{- $root := index . 0 -}}{{- $part := index $root.Values (index . 1) -}}
- name: config
  configMap:
    name: {{ include "gpuwatch.fullname" $root }}-{{ index . 1 }}
{{- if include "gpuwatch.web.file" $root }}
- name: web
  secret:
    secretName: {{ default (printf "%s-web" (include "gpuwatch.fullname" $root)) $root.Values.web.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- if and $root.Values.web.tls.enabled (not $root.Values.web.existingSecret) }}
- name: tls
  secret:
    secretName: {{ required "web.tls.existingSecret: there must be a Secret with tls.crt and tls.key" $root.Values.web.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- range $part.secrets }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
{{- end }}
{{- with $part.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gpuwatch.mounts" -}}
{{- $root := index . 0 -}}{{- $part := index $root.Values (index . 1) -}}
- name: config
  mountPath: /etc/gpuwatch/gpuwatch.toml
  subPath: gpuwatch.toml
  readOnly: true
{{- if include "gpuwatch.web.file" $root }}
- name: web
  mountPath: /etc/gpuwatch/web
  readOnly: true
{{- end }}
{{- if and $root.Values.web.tls.enabled (not $root.Values.web.existingSecret) }}
- name: tls
  mountPath: /etc/gpuwatch/tls
  readOnly: true
{{- end }}
{{- range $part.secrets }}
- name: secret-{{ .name }}
  mountPath: /etc/gpuwatch/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- with $part.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gpuwatch.monitor.endpoint" -}}
{{- $root := index . 0 -}}{{- $monitor := index . 1 -}}
port: http
path: /metrics
scheme: {{ include "gpuwatch.scheme" $root }}
interval: {{ $monitor.interval }}
scrapeTimeout: {{ $monitor.scrapeTimeout }}
honorLabels: false
{{- with $monitor.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $monitor.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
