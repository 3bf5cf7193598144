{{- /* A Pod that runs one command of the operator's binary:
(dict "root" $ "component" "cleanup" "account" … "token" true "args" (list …) "volumes" … "mounts" …) */ -}}
{{- define "integration-operator.onePod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "integration-operator.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: {{ .token }}
  restartPolicy: Never
  {{- include "integration-operator.placement" $root | trim | nindent 2 }}
  containers:
    - name: {{ .component }}
      image: {{ include "integration-operator.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        {{- include "integration-operator.environment" $root | nindent 8 }}
      resources:
        {{- toYaml $root.Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
      {{- with .mounts }}
      volumeMounts:
        {{- . | nindent 8 }}
      {{- end }}
  {{- with .volumes }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* When a hook's object lives: (dict "events" "pre-delete" "weight" "-5") */ -}}
{{- define "integration-operator.hook" -}}
helm.sh/hook: {{ .events }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
