package trial

import (
	"context"
	"errors"

	"trivet/lab/record"
)

// writeEnd writes how the trial ended.
func writeEnd(ctx context.Context, w *record.EventWriter, err error) {
	switch {
	case err == nil:
		w.Write(record.Event{Event: record.Ended})
	case ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())):
		w.Write(record.Event{Event: record.Interrupted, Error: context.Cause(ctx).Error()})
	default:
		w.Write(record.Event{Event: record.LabError, Error: err.Error()})
	}
}
