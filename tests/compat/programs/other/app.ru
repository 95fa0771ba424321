# A Rack application that echoes bodies, and sends a file that it reads each time.
class Echo
  def call(env)
    body = env["rack.input"].read || ""
    body = File.binread(File.join(ENV["COMPAT_FOLDER"], "file")) if env["PATH_INFO"] == "/file"
    [200, { "Content-Type" => "application/octet-stream", "Content-Length" => body.bytesize.to_s }, [body]]
  end
end
run Echo.new
