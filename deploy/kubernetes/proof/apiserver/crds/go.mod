// Modules from which the tests read CustomResourceDefinitions; nothing is compiled. A module of its own, because as requirements of the
// proof they would raise the versions of what Kubernetes is built from.
module trivet/deploy/kubernetes/proof/apiserver/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
