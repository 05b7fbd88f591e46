{{/* What the schema can't see, because it takes two values or a cluster to be wrong. All of it is said at once. */}}
{{- define "sscsi.checks" -}}
{{- $values := .Values -}}
{{- $linux := .Values.linux -}}
{{- $wrong := list -}}

{{- if (.Values.windows | default dict).enabled -}}
{{- $wrong = append $wrong "windows.enabled: there is no driver for Windows here, and an upgrade would delete upstream's Windows DaemonSet. Stay with upstream's chart where pods on Windows nodes have such volumes; else set it to false" -}}
{{- end -}}

{{- $ours := dict
  "CSI_ENDPOINT" "it is the same in every pod"
  "KUBE_NODE_NAME" "it is the node's name"
  "SSCSI_KUBELET_REGISTRATION_PATH" "set linux.kubeletRootDir"
  "SSCSI_HEALTH_ENDPOINT" "set livenessProbe.port"
  "SSCSI_METRICS_ADDR" "set linux.metricsAddr"
  "SSCSI_PROVIDER_DIRS" "set linux.providersDir and linux.additionalProvidersDirs"
  "SSCSI_REGISTRATION_DIR" "set linux.kubeletRootDir"
  "SSCSI_RUN_DIR" "it is the same in every pod"
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
{{- /* The container's arguments come after SSCSI_NODE_ARGS, so that a flag in there would be without effect. */ -}}
{{- $flags := dict
  "endpoint" (get $ours "CSI_ENDPOINT")
  "nodeid" (get $ours "KUBE_NODE_NAME")
  "run-dir" (get $ours "SSCSI_RUN_DIR")
  "metrics-addr" (get $ours "SSCSI_METRICS_ADDR")
  "provider-dirs" (get $ours "SSCSI_PROVIDER_DIRS")
  "provider-volume" "set linux.providersDir"
  "additional-provider-volume-paths" "set linux.additionalProvidersDirs"
  "enable-secret-rotation" "set enableSecretRotation"
  "rotation-poll-interval" "set rotationPollInterval"
  "provider-health-check" "set providerHealthCheck"
  "provider-health-check-interval" "set providerHealthCheckInterval" -}}
{{- if $values.maxCallRecvMsgSize -}}
{{- $_ := set $flags "max-call-recv-msg-size" "set maxCallRecvMsgSize" -}}
{{- end -}}
{{- if $values.logVerbosity -}}
{{- $_ := set $ours "SSCSI_LOG_VERBOSITY" "set logVerbosity" -}}
{{- $_ := set $flags "v" "set logVerbosity" -}}
{{- end -}}
{{- if $values.logFormatJSON -}}
{{- $_ := set $ours "SSCSI_LOG_FORMAT_JSON" "set logFormatJSON" -}}
{{- $_ := set $flags "log-format-json" "set logFormatJSON" -}}
{{- end -}}
{{- range $variable := $linux.env -}}
{{- with get $ours $variable.name -}}
{{- $wrong = append $wrong (printf "linux.env: the chart sets %s itself: %s" $variable.name .) -}}
{{- end -}}
{{- if eq $variable.name "SSCSI_NODE_ARGS" -}}
{{- range $flag, $cure := $flags -}}
{{- if regexMatch (printf "(^|[\\s'\"])--?%s([=\\s'\"]|$)" $flag) ($variable.value | default "") -}}
{{- $wrong = append $wrong (printf "linux.env: the chart sets SSCSI_NODE_ARGS' flag --%s itself: %s" $flag $cure) -}}
{{- end -}}
{{- end -}}
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

{{- $audiences := list -}}
{{- range $request := $values.tokenRequests -}}
{{- if has $request.audience $audiences -}}
{{- $wrong = append $wrong (printf "tokenRequests: the audience %q is there twice; name each once" $request.audience) -}}
{{- end -}}
{{- $audiences = append $audiences $request.audience -}}
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
{{- else if and (get $values $name).enabled (regexMatch "^(127[.]|localhost:|\\[::1\\]:)" $linux.metricsAddr) -}}
{{- $wrong = append $wrong (printf "%s.enabled: the metrics page at %s is for the pod itself only; set linux.metricsAddr to :%s" $name $linux.metricsAddr $port) -}}
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
