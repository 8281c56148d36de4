package instance

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	whoamiv1 "trivet/gen/whoami/v1"
)

// With fixed windows the server announces them at once, and sends no PING to measure the bandwidth; without, it does the opposite.
func TestFixedWindowsAreAnnouncedWithoutPing(t *testing.T) {
	t.Parallel()
	for fixed, want := range map[string]struct {
		window uint32
		pings  int
	}{"true": {streamWindow, 0}, "false": {65535, 1}} {
		t.Run(fixed, func(t *testing.T) {
			t.Parallel()
			i := startApp(t, appOf(whoamiv1.UnimplementedWhoAmIServiceServer{}), map[string]string{"FIXED_WINDOWS": fixed})
			conn, err := net.Dial("tcp", strings.TrimPrefix(i.connection.Target(), "passthrough:///"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			framer := http2.NewFramer(conn, conn)
			var block bytes.Buffer
			encoder := hpack.NewEncoder(&block)
			for _, f := range [][2]string{
				{":method", "POST"}, {":scheme", "http"}, {":path", whoamiv1.WhoAmIService_WhoAmI_FullMethodName}, {":authority", "whoami"},
				{"content-type", "application/grpc"}, {"te", "trailers"},
			} {
				if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
					t.Fatal(err)
				}
			}
			for _, write := range []func() error{
				func() error { return framer.WriteSettings() },
				func() error {
					return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
				},
				func() error { return framer.WriteData(1, true, make([]byte, 5)) },
			} {
				if err := write(); err != nil {
					t.Fatal(err)
				}
			}
			window, pings := uint32(65535), 0
			for ended := false; !ended; {
				frame, err := framer.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				switch f := frame.(type) {
				case *http2.SettingsFrame:
					if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
						window = v
					}
				case *http2.PingFrame:
					pings++
				case *http2.HeadersFrame:
					ended = f.StreamEnded()
				}
			}
			if window != want.window || pings != want.pings {
				t.Errorf("window %d, %d PINGs; want %d, %d", window, pings, want.window, want.pings)
			}
		})
	}
}
