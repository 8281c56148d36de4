package main

import (
	"context"
	"strconv"

	"trivet/bench/launch"
	"trivet/bench/wire"
)

// What is measured of one instance without nginx. It is started alone, so it has all cores, as has what it is compared with. At the fixed
// rate each connection carries one call at a time; in the closed loop few connections carry many, as a client's channels do.

// whoamiProgram is one instance.
func (b *bench) whoamiProgram(http, rpc int) (launch.Program, int) {
	return launch.Program{Path: b.whoami(), Args: []string{"--port", strconv.Itoa(http), "--grpc-port", strconv.Itoa(rpc), "--instance", "whoami-1"}}, rpc
}

func directly(name, address, path string, pids []int) side {
	return side{
		name: name, instances: pids,
		target:      wire.Spec{Address: address, GRPC: true, Path: path, Connections: connections},
		multiplexed: &wire.Spec{Address: address, GRPC: true, Path: path, Connections: 8, Streams: 8},
	}
}

func (b *bench) directlyAgainstBare(ctx context.Context) error {
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	return b.direct(ctx, "2a gRPC directly", "grpc-go", method, b.bareProgram(ours, nil),
		question{instanceCPU, nil}, question{perSecond, nil})
}

func (b *bench) directlyAgainstTraefik(ctx context.Context) error {
	program, err := b.traefikProgram()
	if err != nil {
		return err
	}
	return b.direct(ctx, "2b gRPC directly", "traefik", traefikMethod, program,
		question{instanceCPU, atMost(0.2)}, question{perSecond, atLeast(5)})
}

func (b *bench) direct(ctx context.Context, what, name, path string, program func(http, rpc int) (launch.Program, int), questions ...question) error {
	one, err := b.start(ctx, "whoami", 1, b.whoamiProgram)
	if err != nil {
		return err
	}
	defer one.group.Stop()
	other, err := b.start(ctx, name, 1, program)
	if err != nil {
		return err
	}
	defer other.group.Stop()
	return b.compare(ctx, what, directly("whoami", one.servers[0].GRPC, method, one.pids),
		directly(name, other.servers[0].GRPC, path, other.pids), questions...)
}
