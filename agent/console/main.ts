/** The host's entry. */
if (process.argv.includes("--version")) console.log(__VERSION__);
