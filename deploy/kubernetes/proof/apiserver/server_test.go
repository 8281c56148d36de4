package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// A server is etcd and a kube-apiserver in this process.
type server struct {
	config *rest.Config // for requests of an administrator
	etcd   *embed.Etcd
	cancel context.CancelFunc
	done   chan error // the result of the apiserver's Run
	log    string     // file with the log lines of both
}

// startServer starts etcd, and a kube-apiserver on a port from the kernel. Everything that both write is in dir. It returns once the
// apiserver is ready.
func startServer(dir string) (_ *server, err error) {
	s := &server{log: filepath.Join(dir, "log"), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"}); err != nil {
		return nil, err
	}
	klog.SetOutput(log)
	if err := s.startEtcd(filepath.Join(dir, "etcd")); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	if err := s.startAPIServer(ctx, dir); err != nil {
		return nil, fmt.Errorf("start kube-apiserver: %w", err)
	}
	return s, s.waitReady()
}

func (s *server) startEtcd(dir string) error {
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config := embed.NewConfig()
	config.Dir = dir
	config.ListenClientUrls, config.ListenPeerUrls = anyPort, anyPort
	config.LogOutputs, config.LogLevel = []string{s.log}, "warn"
	config.UnsafeNoFsync = true // the data does not outlive the test
	var err error
	if s.etcd, err = embed.StartEtcd(config); err != nil {
		return err
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-time.After(time.Minute):
		return errors.New("not ready after a minute")
	}
}

// startAPIServer does what the command kube-apiserver does, but with a listener of its own, and ends by a context instead of a signal.
func (s *server) startAPIServer(ctx context.Context, dir string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	key, token, tokens := filepath.Join(dir, "service-account.key"), rand.Text(), filepath.Join(dir, "tokens.csv")
	if err := errors.Join(writeKey(key), os.WriteFile(tokens, []byte(token+",admin,admin,system:masters\n"), 0o600)); err != nil {
		return err
	}
	o := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range o.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse([]string{
		"--etcd-servers=http://" + s.etcd.Clients[0].Addr().String(),
		"--cert-dir=" + dir,
		"--bind-address=127.0.0.1", // for the certificate; the listener is below
		"--advertise-address=127.0.0.1",
		"--token-auth-file=" + tokens,
		"--service-account-issuer=https://kubernetes.test",
		"--service-account-key-file=" + key,
		"--service-account-signing-key-file=" + key,
		"--service-cluster-ip-range=10.0.0.0/16",
		"--allow-privileged",                         // as in a real cluster, where the namespace alone refuses
		"--endpoint-reconciler-type=none",            // it refuses to publish an address on loopback
		"--disable-admission-plugins=ServiceAccount", // the controller manager would create the account that it asks for
	}); err != nil {
		return err
	}
	o.SecureServing.Listener = listener
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(completed.Validate()...); err != nil {
		return err
	}
	go func() { s.done <- app.Run(ctx, completed) }()
	s.config = &rest.Config{
		Host:            "https://" + listener.Addr().String(),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "apiserver.crt")},
		QPS:             -1,
		// An object with a warning is refused: what a user would have to read must not be in our files.
		WarningHandlerWithContext: warnings{},
	}
	return nil
}

func (s *server) waitReady() error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	client, err := rest.UnversionedRESTClientFor(withoutVersion(s.config))
	if err != nil {
		return err
	}
	for deadline := time.After(time.Minute); ; {
		if err = client.Get().AbsPath("/readyz").Do(context.Background()).Error(); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case ended := <-s.done:
			s.done <- ended
			return fmt.Errorf("kube-apiserver ended: %w", ended)
		case <-deadline:
			return fmt.Errorf("kube-apiserver not ready after a minute: %w", err)
		}
	}
}

// stop ends the apiserver, then etcd: an apiserver without etcd lingers.
func (s *server) stop() error {
	s.cancel()
	var err error
	if s.config != nil {
		select {
		case err = <-s.done:
		case <-time.After(time.Minute):
			err = errors.New("kube-apiserver did not end within a minute")
		}
	}
	if s.etcd != nil {
		s.etcd.Close()
	}
	return err
}

func writeKey(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	text, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o600)
}

// warnings is a [rest.WarningHandlerWithContext] that adds the warnings of responses to the [collector] of the request's context.
type warnings struct{}

type collector struct {
	mu       sync.Mutex
	warnings []error
}

type collectorKey struct{}

// HandleWarningHeaderWithContext implements [rest.WarningHandlerWithContext].
func (warnings) HandleWarningHeaderWithContext(ctx context.Context, _ int, _, text string) {
	if c, ok := ctx.Value(collectorKey{}).(*collector); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.warnings = append(c.warnings, fmt.Errorf("warning: %s", text))
	}
}
