{{/*
A table as TOML: its values first, then the tables in it. Takes (list TABLE "path.to.it").
Helm's toToml writes every number of a values file as a float, and these settings tell the two apart.
*/}}
{{- define "gpuwatch.toml" -}}
{{- $table := index . 0 -}}{{- $path := index . 1 -}}
{{- range $key := keys $table | sortAlpha -}}
{{- $value := index $table $key -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "gpuwatch.toml.key" $key }} = {{ include "gpuwatch.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key := keys $table | sortAlpha -}}
{{- $value := index $table $key -}}
{{- if kindIs "map" $value -}}
{{- $name := include "gpuwatch.toml.key" $key -}}
{{- $below := ternary (printf "%s.%s" $path $name) $name (ne $path "") -}}
{{- $own := not $value -}}
{{- range $value }}{{ if not (kindIs "map" .) }}{{ $own = true }}{{ end }}{{ end -}}
{{- if $own }}

[{{ $below }}]
{{- end -}}
{{- include "gpuwatch.toml" (list $value $below) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "gpuwatch.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end }}

{{- define "gpuwatch.toml.value" -}}
{{- if kindIs "string" . -}}
{{ toRawJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ printf "%.0f" . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- else if kindIs "slice" . -}}
[{{ range $index, $each := . }}{{ if $index }}, {{ end }}{{ include "gpuwatch.toml.value" $each }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }}, {{ end }}{{ include "gpuwatch.toml.key" $key }} = {{ include "gpuwatch.toml.value" (index $ $key) }}{{ end -}} }
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}
