package main

import (
	"os"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// framesPerSecond is how often at most a terminal is drawn: each frame costs CPU, which the system under test could use.
const framesPerSecond = 5

// A screen draws at the bottom of a terminal, in place. It reads no input: so the terminal stays in its mode, Ctrl-C sends its signal to all
// processes, and of what a killed run leaves there only the cursor is missing.
type screen struct {
	program *tea.Program
	ended   chan struct{}
}

func newScreen(terminal *os.File) *screen {
	s := &screen{
		program: tea.NewProgram(screenModel{}, tea.WithInput(nil), tea.WithOutput(terminal), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond)),
		ended:   make(chan struct{}),
	}
	go func() {
		defer close(s.ended)
		_, _ = s.program.Run() // What cannot be drawn is not worth ending a run.
	}()
	return s
}

func (s *screen) draw(d drawing) { s.program.Send(d) }

// remove erases what is drawn. Nothing is drawn any more.
func (s *screen) remove() {
	s.program.Send(erased{})
	<-s.ended
}

// erased is the message after which nothing is drawn.
type erased struct{}

// A screenModel is what bubbletea asks for what to draw.
type screenModel struct {
	drawing       drawing
	width, height int
}

func (screenModel) Init() tea.Cmd { return nil }

func (m screenModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case drawing:
		m.drawing = msg
	case erased:
		return screenModel{}, tea.Quit
	}
	return m, nil
}

func (m screenModel) View() tea.View {
	if len(m.drawing.trials) == 0 {
		return plain("")
	}
	lines := m.drawing.lines(m.width, m.height)
	return plain(strings.Join(lines, "\n"))
}

// plain is a view that changes no mode of the terminal.
func plain(content string) tea.View {
	v := tea.NewView(content)
	v.DisableBracketedPasteMode = true
	return v
}
