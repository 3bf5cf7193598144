{{- /* What has no smaller scope than the cluster. */ -}}
{{- define "integration-operator.clusterRules" -}}
# Which namespace is which tenant's.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
# The apps that an administrator describes, once for the cluster.
- apiGroups: [integrations.tms.dev]
  resources: [clusterintegrationproviders]
  verbs: [get, list, watch]
- apiGroups: [integrations.tms.dev]
  resources: [clusterintegrationproviders/status]
  verbs: [patch]
# Who calls, and what they may do.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}

{{- /* What is done in the namespaces of tenants. */ -}}
{{- define "integration-operator.tenantRules" -}}
# Integrations are watched; install creates them for callers who may, the finalizer is put on and taken off, and
# DELETE of the HTTP API deletes them for callers who may.
- apiGroups: [integrations.tms.dev]
  resources: [projectintegrations]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [integrations.tms.dev]
  resources: [projectintegrations/status, integrationproviders/status]
  verbs: [patch]
# Owner references of published Secrets, on clusters that enforce permission for them.
- apiGroups: [integrations.tms.dev]
  resources: [projectintegrations/finalizers]
  verbs: [update]
- apiGroups: [integrations.tms.dev]
  resources: [integrationproviders]
  verbs: [get, list, watch]
# Token Secrets and authorization links are written into tenants' namespaces; a tenant's Secret is read only by name
# and only when labelled as readable. No list, no watch.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# Receivers of events that are Services: their address.
- apiGroups: [""]
  resources: [services]
  verbs: [get]
# Events on integrations.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- /* What is done in the operator's own namespace. */ -}}
{{- define "integration-operator.ownRules" -}}
# Grants and attempts are kept, watched and swept here.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete, deletecollection]
# One replica reconciles.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- end -}}

{{- /* A binding to the service account: (dict "root" $ "kind" "Role" "name" … "account" …) */ -}}
{{- define "integration-operator.boundTo" -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
