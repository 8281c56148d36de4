// Package swarm tests stack.yml: what a file can show always, and on a real Swarm with the build tag swarm, where `make test-swarm` (the
// script run in this directory) provides engines and images. They never skip.
package swarm
