{{/* What to tell of upstream's values that have no effect and are set to something else than upstream's default. */}}
{{- define "sscsi.noEffect" -}}
{{- range (.Files.Get "files/upstream-values.yaml" | fromYaml).values -}}
{{- $found := $.Values -}}
{{- range splitList "." .name -}}
{{- if kindIs "map" $found }}{{ $found = get $found . }}{{ else }}{{ $found = "" }}{{ end -}}
{{- end -}}
{{- if kindIs "map" $found -}}
{{- /* As Helm would have merged it into upstream's own values. */ -}}
{{- $found = mustMergeOverwrite (deepCopy .default) $found -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $found)) (ne (toString $found) "") (ne (toJson $found) (toJson .default)) }}
* {{ .name }}: no effect; {{ .why }}.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Names of our definitions that the cluster has in another shape. Only what Helm was not told to leave alone is looked at. */}}
{{- define "sscsi.otherDefinitions" -}}
{{- if (.Values.linux.crds | default dict).enabled -}}
{{- range $path, $_ := .Files.Glob "crds/*.yaml" -}}
{{- $ours := $.Files.Get $path | fromYaml -}}
{{- $live := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $ours.metadata.name -}}
{{- if $live -}}
{{- if ne (include "sscsi.shape" $live) (include "sscsi.shape" $ours) }}
* {{ $ours.metadata.name }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What tells one version of a definition from another. */}}
{{- define "sscsi.shape" -}}
{{- range .spec.versions }}{{ list .name .served .schema .additionalPrinterColumns | toJson }}{{ end -}}
{{- end }}
