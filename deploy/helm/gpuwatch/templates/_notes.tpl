{{/* What is told after an installation: what to look at, and what is missing. */}}
{{- define "gpuwatch.notes" -}}
gpuwatch {{ .Chart.AppVersion }} for the cluster {{ .Values.cluster | quote }}.
{{ if .Values.agent.enabled }}
Agents: one on each node{{ with .Values.agent.nodeSelector }} with {{ toJson . }}{{ end }}.

  kubectl -n {{ .Release.Namespace }} rollout status daemonset/{{ include "gpuwatch.fullname" . }}-agent
  kubectl -n {{ .Release.Namespace }} exec daemonset/{{ include "gpuwatch.fullname" . }}-agent -- {{ if .Values.agent.otherUsers.enabled }}{{ include "gpuwatch.others" . }} {{ end }}gpuwatch check --probe
{{- if not (or .Values.agent.runtimeClassName (eq .Values.agent.gpuAccess "none")) }}

  "check" finds no device? Where NVIDIA's runtime is not the node's default one: --set agent.runtimeClassName=nvidia
{{- end }}
{{- if and .Values.agent.podResources.enabled (not .Values.agent.hostAccess.enabled) }}

  agent.hostAccess is off: the kubelet's socket is root's, and pods are not told apart, until the node gives it to
  the group {{ .Values.agent.hostAccess.group }}; the state directory must belong to {{ include "gpuwatch.user" . }}. docs/kubernetes.md says how.
{{- end }}
{{- if and (contains "-gke." .Capabilities.KubeVersion.Version) (not .Values.agent.tpu.devicePlugin.enabled) }}

  This is GKE. On its TPU nodes what chips do is told by their device plugin alone:
  --set agent.tpu.devicePlugin.enabled=true
{{- end }}
{{- if and .Values.agent.otherUsers.enabled (not .Values.agent.hostPID) }}

  agent.otherUsers shows the processes of this pod alone: agent.hostPID is off.
{{- end }}
{{- end }}
{{ if .Values.accounting.enabled }}
Accounting:

  kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "gpuwatch.fullname" . }}-accounting {{ .Values.accounting.service.port }}
{{- if and .Values.web.tls.enabled (not .Values.accounting.prometheusUrl) }}

  It asks the agents by their addresses, which their certificates must name: or set accounting.prometheusUrl.
{{- end }}
{{- if not (or .Values.accounting.persistence.enabled .Values.accounting.postgresql.url) }}

  The ledger is gone with the pod: accounting.persistence is off and there is no PostgreSQL.
{{- end }}
{{- end }}
{{- $labels := merge dict .Values.podMonitor.additionalLabels .Values.serviceMonitor.additionalLabels .Values.prometheusRule.additionalLabels }}
{{- if not (or .Values.podMonitor.enabled .Values.serviceMonitor.enabled) }}

Nothing scrapes this yet. With the Prometheus operator:
  --set podMonitor.enabled=true --set serviceMonitor.enabled=true --set prometheusRule.enabled=true
{{- else if not $labels }}

kube-prometheus-stack picks up only monitors and rules that have its label. If no target appears:
  --set podMonitor.additionalLabels.release=NAME, and the same for serviceMonitor and prometheusRule
  (NAME is that of its Helm release)
{{- end }}
{{- end }}
