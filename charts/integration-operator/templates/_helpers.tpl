{{- define "integration-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Short enough for what is hung on to it. */ -}}
{{- define "integration-operator.fullname" -}}
{{- $name := include "integration-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "integration-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "integration-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "integration-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "integration-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "integration-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "integration-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is missing: with serviceAccount.create=false, name the one to use" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "integration-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "integration-operator.publicUrl" -}}
{{- required "publicUrl is missing: set it to the https address under which people and apps reach the operator, such as https://connect.example.com" .Values.publicUrl | trimSuffix "/" -}}
{{- end -}}

{{- /* The host of publicUrl, without a port. */ -}}
{{- define "integration-operator.host" -}}
{{- regexReplaceAll ":[0-9]+$" (urlParse (include "integration-operator.publicUrl" .)).host "" -}}
{{- end -}}

{{- /* The path of publicUrl, without a slash at its end. */ -}}
{{- define "integration-operator.path" -}}
{{- (urlParse (include "integration-operator.publicUrl" .)).path | trimSuffix "/" -}}
{{- end -}}

{{- /* What is open to everybody, and what is open when asked for; the first stays the least. */ -}}
{{- define "integration-operator.paths" -}}
{{- $base := include "integration-operator.path" .root -}}
- {{ printf "%s/api/public" $base }}
{{- if .exposeApi }}
- {{ printf "%s/v1" $base }}
{{- end }}
{{- end -}}

{{- /* How providers are reached: of the operator, and of the Job that cleans up after it. */ -}}
{{- define "integration-operator.egressArgs" -}}
{{- with .Values.clusterNetworks }}
- --cluster-networks={{ join "," . }}
{{- end }}
{{- with .Values.allowInsecureProviderHosts }}
- --allow-insecure-provider-hosts={{ join "," . }}
{{- end }}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret }}
- --ca-bundle=/etc/integration-operator/ca/{{ .Values.caBundle.key }}
{{- end }}
- --provider-requests-per-second={{ .Values.providerRequestsPerSecond }}
{{- end -}}

{{- /* What opens sealed grants: of the operator, and of the Job that cleans up after it. */ -}}
{{- define "integration-operator.grantKeyArgs" -}}
{{- if .Values.grantKey.existingSecret }}
- --grant-key-file=/etc/integration-operator/grant-keys/{{ .Values.grantKey.key }}
{{- end }}
{{- end -}}

{{- define "integration-operator.volumeMounts" -}}
{{- if .Values.grantKey.existingSecret }}
- name: grant-keys
  mountPath: /etc/integration-operator/grant-keys
  readOnly: true
{{- end }}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret }}
- name: ca-bundle
  mountPath: /etc/integration-operator/ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "integration-operator.volumes" -}}
{{- if and .Values.caBundle.configMap .Values.caBundle.secret -}}
{{- fail "caBundle: name a configMap or a secret, not both" -}}
{{- end -}}
{{- with .Values.grantKey.existingSecret }}
- name: grant-keys
  secret:
    secretName: {{ . }}
{{- end }}
{{- if .Values.caBundle.configMap }}
- name: ca-bundle
  configMap:
    name: {{ .Values.caBundle.configMap }}
{{- else if .Values.caBundle.secret }}
- name: ca-bundle
  secret:
    secretName: {{ .Values.caBundle.secret }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Its own name, not the uid's: a restart in place takes the Lease up at once by it. */ -}}
{{- define "integration-operator.environment" -}}
- name: NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Where Pods may run, for the operator and its Jobs. */ -}}
{{- define "integration-operator.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
