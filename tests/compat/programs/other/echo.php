<?php
// Sends back the body of the request, or the file beside it.
$body = file_get_contents('php://input');
if (strpos($_SERVER['REQUEST_URI'], '/file') === 0) {
    $body = file_get_contents(__DIR__ . '/file');
}
header('Content-Type: application/octet-stream');
header('Content-Length: ' . strlen($body));
echo $body;
