// Package cluster tests the stack on a real Kubernetes cluster. Its tests need the build tag cluster, and a cluster with the images, both of
// which `make test-cluster` (the script run in this directory) provides. They never skip.
package cluster
