// Package apiserver has only tests: they apply deploy/kubernetes to a real kube-apiserver.
package apiserver
