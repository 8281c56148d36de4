package rawconn

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// BenchmarkProcessorHeld reports how long a write of a given size holds a processor on loopback, where the kernel also does the receiver's
// part. It reports the median, because calls that the machine interrupts are not representative.
func BenchmarkProcessorHeld(b *testing.B) {
	for _, size := range []int{100, 4 << 10, most} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			own, client := pair(b)
			sent, got := make([]byte, size), make([]byte, size)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := own.Write(sent); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				if _, err := io.ReadFull(client, got); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "µs/write")
		})
	}
}
