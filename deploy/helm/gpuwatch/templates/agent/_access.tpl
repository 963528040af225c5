{{/* The container that is root with CHOWN alone. Takes (list $ "prepare" SECONDS). */}}
{{- define "gpuwatch.access" -}}
{{- $root := index . 0 -}}{{- $agent := $root.Values.agent -}}
name: {{ index . 1 }}
image: {{ include "gpuwatch.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [/opt/gpuwatch/bin/python, -I, /access/access.py]
args:
  - --user={{ include "gpuwatch.user" $root }}
  - --group={{ $agent.hostAccess.group }}
  {{- if $agent.state.hostPath }}
  - --own=/var/lib/gpuwatch
  {{- end }}
  {{- if $agent.socketDirectory }}
  - --own=/run/gpuwatch
  {{- end }}
  {{- if $agent.podResources.enabled }}
  - --grant=/var/log/pods
  - --grant=/var/lib/kubelet/pod-resources
  - --grant=/var/lib/kubelet/pod-resources/kubelet.sock
  {{- end }}
  {{- if $agent.hostPower.enabled }}
  - --read=/host/virtual/powercap/intel-rapl/intel-rapl:*/energy_uj
  - --read=/host/virtual/powercap/intel-rapl/intel-rapl:*/intel-rapl:*/energy_uj
  {{- end }}
  {{- with index . 2 }}
  - --every={{ . }}
  {{- end }}
securityContext:
  {{- include "gpuwatch.rootSecurity" (list "CHOWN") | nindent 2 }}
env:
  - {name: NVIDIA_VISIBLE_DEVICES, value: void}
resources:
  {{- toYaml $agent.hostAccess.resources | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /access/access.py
    subPath: access.py
    readOnly: true
  {{- if $agent.state.hostPath }}
  - {name: state, mountPath: /var/lib/gpuwatch}
  {{- end }}
  {{- if $agent.socketDirectory }}
  - {name: socket, mountPath: /run/gpuwatch}
  {{- end }}
  {{- if $agent.podResources.enabled }}
  - {name: pod-resources, mountPath: /var/lib/kubelet/pod-resources}
  - {name: pod-logs, mountPath: /var/log/pods}
  {{- end }}
  {{- if $agent.hostPower.enabled }}
  - {name: virtual, mountPath: /host/virtual}
  {{- end }}
{{- end }}
