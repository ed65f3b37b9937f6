// Behind mermaid's own code. What Material's styles leave out is black in the dark: the words of an
// alternative's further parts, and the tips of arrows.
{
  const initialize = mermaid.initialize;
  const rest = `
    .sectionTitle, .sectionTitle > tspan { fill: var(--md-mermaid-sequence-loop-fg-color); stroke: none }
    marker path { fill: var(--md-mermaid-sequence-message-line-color) !important }`;
  mermaid.initialize = (given) =>
    initialize.call(mermaid, { ...given, themeCSS: (given.themeCSS ?? "") + rest });
}
