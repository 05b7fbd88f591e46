{{/* What the label `app` says, and with it the DaemonSet's selector: upstream's, for it can't be changed. */}}
{{- define "sscsi.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of the DaemonSet: the release's where it has the chart's name in it. */}}
{{- define "sscsi.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $made := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ .Values.fullnameOverride | default $made | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* By these pods are found. */}}
{{- define "sscsi.ownLabels" -}}
app: {{ include "sscsi.name" . | quote }}
app.kubernetes.io/name: {{ include "sscsi.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "sscsi.labels" -}}
{{- $more := dict
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/version" .Chart.AppVersion
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{ mustMergeOverwrite $more (.Values.commonLabels | default dict | deepCopy) (include "sscsi.ownLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* Labels of the pods: nothing in them changes with the chart's version. */}}
{{- define "sscsi.podLabels" -}}
{{- $more := .Values.commonLabels | default dict | deepCopy -}}
{{ mustMergeOverwrite $more (.Values.linux.podLabels | default dict) (include "sscsi.ownLabels" . | fromYaml) | toYaml }}
{{- end }}

{{/* What a values file of upstream's says of the image, which is of another program; nothing where it is none of upstream's. */}}
{{- define "sscsi.upstreamsImage" -}}
{{- with .Values.linux.image -}}
{{- $isTag := and (eq .repository "localhost/sscsi/sscsi") (regexMatch "^v[0-9]" .tag) (not .digest) -}}
{{- if or $isTag (hasSuffix "csi-secrets-store/driver" .repository) }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "sscsi.image" -}}
{{- if include "sscsi.upstreamsImage" . -}}
localhost/sscsi/sscsi:{{ .Chart.AppVersion }}
{{- else -}}
{{- with .Values.linux.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Port of the metrics page; nothing where there is none. */}}
{{- define "sscsi.metricsPort" -}}
{{- $address := .Values.linux.metricsAddr | default "off" | toString -}}
{{- if contains ":" $address }}{{ regexFind "[0-9]+$" $address }}{{ end -}}
{{- end }}

{{- define "sscsi.kubeletRoot" -}}
{{ .Values.linux.kubeletRootDir | trimSuffix "/" }}
{{- end }}

{{/* Directories of providers besides providersDir, as a JSON list below `dirs`. */}}
{{- define "sscsi.additionalDirs" -}}
{{- $dirs := without (.Values.linux.additionalProvidersDirs | default list) .Values.linux.providersDir | uniq -}}
{{ dict "dirs" $dirs | toJson }}
{{- end }}

{{/* Whether Kubernetes has serviceAccountTokenInSecrets. */}}
{{- define "sscsi.knowsTokenInSecrets" -}}
{{- if semverCompare ">=1.35.0-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end }}

{{/* Something where tokens come as secrets of the call. */}}
{{- define "sscsi.tokenInSecrets" -}}
{{- $wanted := .Values.serviceAccountTokenInSecrets -}}
{{- if kindIs "invalid" $wanted -}}
{{- if .Values.tokenRequests }}{{ include "sscsi.knowsTokenInSecrets" . }}{{ end -}}
{{- else if $wanted }}true{{ end -}}
{{- end }}

{{/* Something where an object of the Prometheus operator is wanted: a list of the root, the value, the kind. */}}
{{- define "sscsi.monitoring" -}}
{{- $root := index . 0 -}}{{- $value := index . 1 -}}{{- $kind := index . 2 -}}
{{- if $value.enabled -}}
{{- $known := $root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" $kind) -}}
{{- if or $known (eq $value.renderMode "alwaysRender") }}true{{ end -}}
{{- end -}}
{{- end }}

{{/* How Prometheus reads a pod: a monitor's value in. Job and labels as deploy/prometheus-rules.yaml wants them. */}}
{{- define "sscsi.endpoint" -}}
port: metrics
honorLabels: true
{{- with .interval }}
interval: {{ . | quote }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . | quote }}
{{- end }}
relabelings:
  - targetLabel: job
    replacement: secrets-store-csi
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
