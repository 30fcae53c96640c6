// Package slogor has the four names that lego uses of the module it stands in for, on log/slog's text handler.
package slogor

import (
	"io"
	"log/slog"
)

// OptionFn changes the handler's options.
type OptionFn func(*slog.HandlerOptions)

// SetLevel sets the lowest level that is logged.
func SetLevel(level slog.Leveler) OptionFn {
	return func(options *slog.HandlerOptions) { options.Level = level }
}

// SetTimeFormat is heeded by no one: log/slog has a format of its own.
func SetTimeFormat(string) OptionFn { return func(*slog.HandlerOptions) {} }

// DisableColor is the only way there is.
func DisableColor() OptionFn { return func(*slog.HandlerOptions) {} }

// NewHandler makes the handler.
func NewHandler(out io.Writer, changes ...OptionFn) slog.Handler {
	options := &slog.HandlerOptions{}
	for _, change := range changes {
		change(options)
	}
	return slog.NewTextHandler(out, options)
}
