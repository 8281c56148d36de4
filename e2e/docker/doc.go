// Package docker tests the containers that docker-compose.yml starts, on a real engine. Its tests need the build tag docker, an engine and
// images, all of which `make test-docker` (the script run in this directory) provides. They never skip.
package docker
