{{- define "orchestrator.labels" -}}
app.kubernetes.io/name: orchestrator
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "orchestrator.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What holds for each pod: not root, nothing writable but /tmp, no token of the cluster. */}}
{{- define "orchestrator.pod" -}}
serviceAccountName: {{ .root.Release.Name }}-{{ .account | default .component }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and .root.Values.spread .spread }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "orchestrator.labels" . | nindent 8 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
{{- end }}

{{- define "orchestrator.container" -}}
image: {{ include "orchestrator.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* What a role takes from its Secret, by the keys that it has there. */}}
{{- define "orchestrator.secretVariables" -}}
{{- $secret := . }}
{{- range $key, $name := dict "databaseUrl" "ORCHESTRATOR_DATABASE_URL" "databaseSessionUrl" "ORCHESTRATOR_DATABASE_SESSION_URL" "databaseReadUrl" "ORCHESTRATOR_DATABASE_READ_URL" "brokerUrl" "ORCHESTRATOR_BROKER_URL" "brokerUrls" "ORCHESTRATOR_BROKER_URLS" "gateUrl" "ORCHESTRATOR_GATE_URL" "sessionKey" "SESSION_KEY" }}
{{- with index $secret $key }}
- {name: {{ $name }}, valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ . }}}}}
{{- end }}
{{- end }}
{{- end }}

{{/* Settings as the environment has them: texts as they are, lists and objects as JSON. */}}
{{- define "orchestrator.settings" -}}
{{- range $name, $value := .Values.settings }}
- {name: ORCHESTRATOR_{{ upper $name }}, value: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | squote }}{{ end }}}
{{- end }}
{{- with .Values.environment }}
{{ toYaml . }}
{{- end }}
{{- end }}
