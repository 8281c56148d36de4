package kubernetes

import (
	"context"
	"fmt"
	"strings"
)

// waiting are reasons for which a container does not start, however long one waits.
var waiting = map[string]bool{
	"CrashLoopBackOff": true, "ErrImagePull": true, "ImagePullBackOff": true, "ErrImageNeverPull": true, "InvalidImageName": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true,
}

// broken is a pod of a Deployment that a trial has patched and that does not start; nil if there is none. The caller has locked the watcher.
func (w *watcher) broken(of string) *followed {
	for _, f := range w.pods {
		if f.of != of || f.Metadata.Annotations[mark] == "" || f.Metadata.DeletionTimestamp != nil {
			continue
		}
		s := f.status(w.stack.deployments[of].container().Name)
		stopped := s.State.Terminated
		if stopped == nil {
			stopped = s.LastState.Terminated
		}
		if stopped != nil && stopped.ExitCode != 0 && !f.ready() || s.State.Waiting != nil && waiting[s.State.Waiting.Reason] {
			return f
		}
	}
	return nil
}

// reason is why a pod of a Deployment does not start: the last lines of its log, or what the API says.
func (s *Stack) reason(ctx context.Context, w *watcher, of string) error {
	w.mu.Lock()
	f := w.broken(of)
	if f == nil {
		w.mu.Unlock()
		return fmt.Errorf("a pod of Deployment %s did not start", of)
	}
	name, container := f.Metadata.Name, s.deployments[of].container().Name
	status := f.status(container)
	w.mu.Unlock()
	said := ""
	for _, more := range [][]string{nil, {"--previous"}} {
		once, cancel := context.WithTimeout(ctx, callTimeout)
		text, err := s.cli.Run(once, append([]string{"logs", name, "--container", container, "--tail=5"}, more...)...)
		cancel()
		if said = strings.TrimSpace(string(text)); err == nil && said != "" {
			break
		}
	}
	if said == "" && status.State.Waiting != nil {
		said = strings.TrimSpace(status.State.Waiting.Reason + " " + status.State.Waiting.Message)
	}
	return fmt.Errorf("pod %s of Deployment %s does not start with the experiment's changes: %s", name, of, said)
}
