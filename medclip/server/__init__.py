"""medclip in the browser and as an API over HTTP: `medclip.server.app.make_app`. The pages alone need no extra."""
