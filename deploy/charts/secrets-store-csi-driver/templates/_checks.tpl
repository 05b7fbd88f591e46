{{/* What the schema can't see, because it takes two values or a cluster to be wrong. All of it is said at once. */}}
{{- define "sscsi.checks" -}}
{{- $values := .Values -}}
{{- $linux := .Values.linux -}}
{{- $wrong := list -}}

{{- if (.Values.windows | default dict).enabled -}}
{{- $wrong = append $wrong "windows.enabled: there is no driver for Windows here, and an upgrade would delete upstream's Windows DaemonSet. Stay with upstream's chart where pods on Windows nodes have such volumes; else set it to false" -}}
{{- end -}}

{{- $image := $linux.image -}}
{{- if hasSuffix "csi-secrets-store/driver" $image.repository -}}
{{- $wrong = append $wrong (printf "linux.image.repository: %s is upstream's driver, which is another program. Take linux.image out of your values, or name the repository and tag that you have this driver at" $image.repository) -}}
{{- else if and (eq $image.repository "localhost/sscsi/sscsi") (regexMatch "^v[0-9]" $image.tag) (not $image.digest) -}}
{{- $wrong = append $wrong (printf "linux.image.tag: %s is a tag of upstream's driver. Take it out of your values" $image.tag) -}}
{{- end -}}

{{- $ours := dict
  "CSI_ENDPOINT" "it is the same in every pod"
  "KUBE_NODE_NAME" "it is the node's name"
  "SSCSI_KUBELET_REGISTRATION_PATH" "set linux.kubeletRootDir"
  "SSCSI_HEALTH_ENDPOINT" "set livenessProbe.port"
  "SSCSI_REGISTRAR_ARGS" "" "SSCSI_LIVENESSPROBE_ARGS" "" "SSCSI_FILE_PROVIDER_ROOT" "" "SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES" "" -}}
{{- if not (kindIs "invalid" $linux.registrar.logVerbosity) -}}
{{- $_ := set $ours "SSCSI_REGISTRAR_ARGS" "add --v to it, and unset linux.registrar.logVerbosity" -}}
{{- end -}}
{{- if not (kindIs "invalid" $values.livenessProbe.logLevel) -}}
{{- $_ := set $ours "SSCSI_LIVENESSPROBE_ARGS" "add --v to it, and unset livenessProbe.logLevel" -}}
{{- end -}}
{{- if $values.fileProvider.enabled -}}
{{- $_ := set $ours "SSCSI_FILE_PROVIDER_ROOT" "set fileProvider.hostDir" -}}
{{- if $values.maxCallRecvMsgSize -}}
{{- $_ := set $ours "SSCSI_FILE_PROVIDER_MAX_RESPONSE_BYTES" "set maxCallRecvMsgSize" -}}
{{- end -}}
{{- end -}}
{{- range $variable := $linux.env -}}
{{- with get $ours $variable.name -}}
{{- $wrong = append $wrong (printf "linux.env: the chart sets %s itself: %s" $variable.name .) -}}
{{- end -}}
{{- end -}}

{{- range $where := list "commonLabels" "linux.podLabels" -}}
{{- $labels := ternary $values.commonLabels $linux.podLabels (eq $where "commonLabels") | default dict -}}
{{- range $key, $value := include "sscsi.ownLabels" $ | fromYaml -}}
{{- if and (hasKey $labels $key) (ne (get $labels $key) $value) -}}
{{- $wrong = append $wrong (printf "%s: %s is what pods are found by, and it is %s; choose another label, or see nameOverride" $where $key $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $values.serviceAccountTokenInSecrets -}}
{{- if not $values.tokenRequests -}}
{{- $wrong = append $wrong "serviceAccountTokenInSecrets: it goes only with tokenRequests; say which audiences your provider wants" -}}
{{- end -}}
{{- if not (include "sscsi.knowsTokenInSecrets" .) -}}
{{- $wrong = append $wrong (printf "serviceAccountTokenInSecrets: Kubernetes %s does not know it, 1.35 does; leave it unset" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}

{{- $port := include "sscsi.metricsPort" . -}}
{{- range $name := list "podMonitor" "serviceMonitor" -}}
{{- if and (get $values $name).enabled (not $port) -}}
{{- $wrong = append $wrong (printf "%s.enabled: there is no metrics page to read; set linux.metricsAddr to :8095" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $values.podMonitor.enabled $values.serviceMonitor.enabled -}}
{{- $wrong = append $wrong "podMonitor.enabled, serviceMonitor.enabled: every figure would be counted twice; enable one of them" -}}
{{- end -}}
{{- if eq $port (toString $values.livenessProbe.port) -}}
{{- $wrong = append $wrong (printf "livenessProbe.port, linux.metricsAddr: both are port %s; choose another for one of them" $port) -}}
{{- end -}}

{{- if .Release.IsInstall -}}
{{- /* Of what helm did not make, it takes no container away. */ -}}
{{- $live := lookup "apps/v1" "DaemonSet" .Release.Namespace (include "sscsi.fullname" .) -}}
{{- range (dig "spec" "template" "spec" "containers" list ($live | default dict)) -}}
{{- if ne .name "secrets-store" -}}
{{- $wrong = append $wrong (printf "DaemonSet %s is there and has the container %s, which would stay: run `kubectl apply -k deploy` first, then this again with --take-ownership" $live.metadata.name .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $wrong -}}
{{- fail (printf "\n- %s\n" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end }}
