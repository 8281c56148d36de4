// Package docker tests the stack in containers, as docker-compose.yml starts it, on a real engine. Its tests want the tag
// docker, an engine and images, which `make test-docker` (the script run beside this) gets; there they fail and do not skip.
package docker
